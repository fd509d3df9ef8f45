SET SESSION lock_wait_timeout = 10;
SELECT @@GLOBAL.event_scheduler;
-- The events that have begun may write no more once it is super_read_only.
SET @statement = IF(@@GLOBAL.event_scheduler = 'DISABLED', 'DO 0', 'SET GLOBAL event_scheduler = OFF');
PREPARE scheduler FROM @statement;
EXECUTE scheduler;
SET GLOBAL super_read_only = 1;
-- Clients that go on must find the new primary. Readers of the log are cut off too, and come back.
SET GLOBAL offline_mode = 1;
SET GLOBAL offline_mode = 0;
SELECT REPLACE(@@GLOBAL.gtid_executed, '\n', '');
