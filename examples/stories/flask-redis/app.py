"""Counts how often it was asked, in Redis, and says on which host it runs."""

import os
import socket

from flask import Flask
from redis import Redis, RedisError

app = Flask(__name__)
store = Redis(host=os.environ.get("REDIS_HOST", "redis"), port=6379, socket_timeout=5)


@app.route("/")
def page():
    try:
        hits = store.incr("hits")
    except RedisError as error:
        return f"Redis does not answer: {error}\n", 503
    return f"Hello from {socket.gethostname()}: {hits} hits\n"


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=5000)
