"""Writes HAProxy's configuration from what the engine's socket tells of the project, and becomes HAProxy."""

import http.client
import json
import os
import socket


class Socket(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/var/run/docker.sock")


def ask(path):
    connection = Socket("docker")
    connection.request("GET", path)
    return json.load(connection.getresponse())


own = next(c for c in ask("/containers/json") if c["Id"].startswith(socket.gethostname()))
project = own["Labels"]["com.docker.compose.project"]
wanted = json.dumps({"label": [f"com.docker.compose.project={project}", "com.docker.compose.service=web"]})
servers = []
for found in ask("/containers/json?filters=" + wanted.replace('"', "%22").replace(" ", "%20")):
    for network in found["NetworkSettings"]["Networks"].values():
        servers.append(f"    server {found['Names'][0][1:]} {network['IPAddress']}:5000 check")
with open("/tmp/haproxy.cfg", "w") as file:
    file.write(
        "defaults\n    mode http\n    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\n"
        "frontend front\n    bind :80\n    default_backend web\n"
        "backend web\n    balance roundrobin\n    option redispatch\n" + "\n".join(servers) + "\n"
    )
os.execvp("haproxy", ["haproxy", "-f", "/tmp/haproxy.cfg"])
