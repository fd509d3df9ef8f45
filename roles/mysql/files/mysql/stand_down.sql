SET SESSION lock_wait_timeout = 10;
SET GLOBAL super_read_only = 1;
-- Clients that go on must find the new primary. Readers of the log are cut off too, and come back.
SET GLOBAL offline_mode = 1;
SET GLOBAL offline_mode = 0;
SELECT REPLACE(@@GLOBAL.gtid_executed, '\n', '');
