DELIMITER //
BEGIN NOT ATOMIC
  STOP SLAVE IO_THREAD;
  DO SLEEP(0.2);
  IF (SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND = 'Slave_SQL' AND STATE LIKE 'Slave has read all relay log%') = 1 THEN
    SELECT 'drained';
  END IF;
END //
