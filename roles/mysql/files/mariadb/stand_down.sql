DELIMITER //
BEGIN NOT ATOMIC
  DECLARE victim BIGINT UNSIGNED;
  DECLARE looks INT DEFAULT 0;
  DECLARE CONTINUE HANDLER FOR 1094 BEGIN END;
  SET SESSION lock_wait_timeout = 10;
  SELECT @@GLOBAL.event_scheduler;
  IF @@GLOBAL.event_scheduler <> 'DISABLED' THEN
    SET GLOBAL event_scheduler = OFF;
  END IF;
  SET GLOBAL read_only = 1;
  -- Clients that go on must find the new primary. Who may pass over read_only is none of them.
  FOR client IN (SELECT ID FROM information_schema.PROCESSLIST WHERE USER NOT IN ('root', 'system user', 'event_scheduler', 'mysql')
    AND USER NOT LIKE 'dbops%' AND ID <> CONNECTION_ID()) DO
    SET victim = client.ID;
    KILL CONNECTION victim;
  END FOR;
  -- An event that has begun goes on without its scheduler, and root's past read_only.
  WHILE (SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND = 'Connect'
    AND USER NOT IN ('system user', 'unauthenticated user')) > 0 DO
    SET looks = looks + 1;
    IF looks = 50 THEN
      FOR running IN (SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'Connect'
        AND USER NOT IN ('system user', 'unauthenticated user')) DO
        SET victim = running.ID;
        KILL CONNECTION victim;
      END FOR;
    ELSEIF looks = 100 THEN
      SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'an event of the old primary does not end';
    END IF;
    DO SLEEP(0.1);
  END WHILE;
  SELECT @@gtid_binlog_pos;
END //
