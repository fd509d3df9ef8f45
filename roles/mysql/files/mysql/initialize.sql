INSTALL PLUGIN auth_socket SONAME 'auth_socket.so';
ALTER USER 'root'@'localhost' IDENTIFIED WITH auth_socket;
INSERT INTO mysql.component (component_group_id, component_urn) VALUES (1, 'file://component_validate_password');
