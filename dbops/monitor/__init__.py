"""What engines share of monitoring: samples, certificates, the heartbeat's loop."""
