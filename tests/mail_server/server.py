"""A mail server that keeps what it is given: one JSON object a letter, in the file named.

server.py PORT FILE [DOOR CERTIFICATE KEY USER PASSWORD]: a login is asked for, behind STARTTLS (`starttls`), behind TLS
from the first byte (`wrapped`), or as if somebody on the way had taken STARTTLS out (`stripped`). Who tried to log in is
kept in FILE.logins.
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
            "tls": server.transport.get_extra_info("sslcontext") is not None,
            "login": bool(session.authenticated),
        }
        with open(self.path, "a", encoding="utf-8") as box:
            box.write(json.dumps(letter) + "\n")
        return "250 taken"


def main():
    port, path, *secured = sys.argv[1:]
    more = {}
    if secured:
        door, certificate, key, user, password = secured
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)

        def authenticator(_server, _session, _envelope, _mechanism, data):
            with open(path + ".logins", "a", encoding="utf-8") as logins:
                logins.write("a login\n")
            known = (data.login, data.password) == (user.encode(), password.encode())
            return AuthResult(success=known)

        more = {"auth_required": True, "authenticator": authenticator}
        if door == "starttls":
            more |= {"tls_context": context, "require_starttls": True}
        else:
            # It does not know of TLS that was there before it.
            more["auth_require_tls"] = False
        if door == "wrapped":
            more["ssl_context"] = context
    controller = Controller(Box(path), hostname="127.0.0.1", port=int(port), **more)
    controller.start()
    threading.Event().wait()


main()
