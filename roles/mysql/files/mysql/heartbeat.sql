SET @absent = (SELECT COUNT(*) = 0 FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'dbops' AND TABLE_NAME = 'heartbeat');
SET @statement = IF(@absent, 'CREATE TABLE dbops.heartbeat (
    id TINYINT UNSIGNED NOT NULL PRIMARY KEY,
    member VARCHAR(255) NOT NULL,
    beat_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    sequence BIGINT UNSIGNED NOT NULL
  ) ENGINE = InnoDB', 'DO 0');
PREPARE made FROM @statement;
EXECUTE made;
SELECT 'made' FROM DUAL WHERE @absent;
