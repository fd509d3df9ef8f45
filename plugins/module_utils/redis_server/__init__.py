"""How the modules of the redis role talk to a server: protocol, settings, accounts. No Ansible."""
