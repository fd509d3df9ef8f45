DELIMITER //
BEGIN NOT ATOMIC
  IF NOT EXISTS (SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'dbops' AND TABLE_NAME = 'heartbeat') THEN
    CREATE TABLE dbops.heartbeat (
      id TINYINT UNSIGNED NOT NULL PRIMARY KEY,
      member VARCHAR(255) NOT NULL,
      beat_at TIMESTAMP(6) NOT NULL DEFAULT current_timestamp(6),
      sequence BIGINT UNSIGNED NOT NULL
    ) ENGINE = InnoDB;
    SELECT 'made';
  END IF;
END //
