DELIMITER //
BEGIN NOT ATOMIC
  DECLARE victim BIGINT UNSIGNED;
  DECLARE CONTINUE HANDLER FOR 1094 BEGIN END;
  SET SESSION lock_wait_timeout = 10;
  SET GLOBAL read_only = 1;
  -- Clients that go on must find the new primary. Who may pass over read_only is none of them.
  FOR client IN (SELECT ID FROM information_schema.PROCESSLIST WHERE USER NOT IN ('root', 'system user', 'event_scheduler', 'mysql')
    AND USER NOT LIKE 'dbops%' AND ID <> CONNECTION_ID()) DO
    SET victim = client.ID;
    KILL CONNECTION victim;
  END FOR;
  SELECT @@gtid_binlog_pos;
END //
