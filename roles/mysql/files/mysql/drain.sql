STOP REPLICA IO_THREAD;
DO SLEEP(0.2);
SELECT 'drained' FROM performance_schema.replication_connection_status
WHERE CHANNEL_NAME = '' AND GTID_SUBSET(RECEIVED_TRANSACTION_SET, @@GLOBAL.gtid_executed);
