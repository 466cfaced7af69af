"""A Flask service without a line of instrumentation; `opentelemetry-instrument` adds it.

Usage: flask_app.py PORT
"""

import os
import signal
import sys

from flask import Flask

app = Flask(__name__)


@app.route("/users/<user_id>")
def get_user(user_id):
    return {"user_id": user_id}


@app.route("/broken")
def broken():
    raise RuntimeError("broken on purpose")


@app.route("/quit")
def quit_app():
    # Ends the process as Ctrl-C does, so that its exporters flush.
    os.kill(os.getpid(), signal.SIGINT)
    return {}


if __name__ == "__main__":
    # A shell that runs the tests in the background has them ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    app.run(host="127.0.0.1", port=int(sys.argv[1]))
