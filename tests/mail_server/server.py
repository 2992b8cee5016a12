"""A mail server that keeps what it is given: one JSON object a letter, in the file named.

server.py PORT FILE [CERTIFICATE KEY USER PASSWORD]: with a certificate, STARTTLS and a login are asked for.
"""

import json
import ssl
import sys
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult


class Box:
    def __init__(self, path):
        self.path = path

    async def handle_DATA(self, server, session, envelope):
        letter = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "text": envelope.content.decode("utf-8", "replace"),
            "tls": session.ssl is not None,
            "login": bool(session.authenticated),
        }
        with open(self.path, "a", encoding="utf-8") as box:
            box.write(json.dumps(letter) + "\n")
        return "250 taken"


def main():
    port, path, *secured = sys.argv[1:]
    more = {}
    if secured:
        certificate, key, user, password = secured
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)

        def authenticator(_server, _session, _envelope, _mechanism, data):
            known = (data.login, data.password) == (user.encode(), password.encode())
            return AuthResult(success=known)

        more = {
            "tls_context": context,
            "require_starttls": True,
            "auth_required": True,
            "authenticator": authenticator,
        }
    controller = Controller(Box(path), hostname="127.0.0.1", port=int(port), **more)
    controller.start()
    threading.Event().wait()


main()
