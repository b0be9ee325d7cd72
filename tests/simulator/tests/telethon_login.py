"""An unrelated client logs in to the simulator: Telethon, as published.

Usage: telethon_login.py PLAN.json, a file with {"host", "port", "control", "public_key", "plain",
"guarded", "remote", "bot"}; the last four are accounts as the control API made them: an ordinary
one, one with the password "open sesame" (hint "a cave"), one that lives at datacenter 4, and a bot.
Every step that does not come out as it must ends the program with a traceback.
"""

import asyncio
import json
import sys
import urllib.request

from telethon import TelegramClient, errors, functions
from telethon.crypto import rsa
from telethon.sessions import StringSession

DEADLINE = 20


class Witness:
    def __init__(self, plan):
        self.plan = plan

    def client(self, session=None):
        client = TelegramClient(
            StringSession(session), 1, "0" * 32, connection_retries=0, auto_reconnect=False
        )
        if session is None:
            client.session.set_dc(2, self.plan["host"], self.plan["port"])
        return client

    async def fresh(self):
        client = self.client()
        await client.connect()
        assert not await client.is_user_authorized()
        return client

    async def control(self, path, body=None):
        def call():
            data = None if body is None else json.dumps(body).encode()
            with urllib.request.urlopen(self.plan["control"] + path, data, DEADLINE) as answer:
                return json.load(answer)

        return await asyncio.to_thread(call)

    async def code_of(self, account):
        return (await self.control(f"/accounts/{account['user_id']}/code"))["code"]

    async def by_code(self, account):
        client = await self.fresh()
        await client.send_code_request(account["phone"])
        code = await self.code_of(account)
        try:
            await client.sign_in(account["phone"], f"{(int(code) + 1) % 100000:05}")
            raise AssertionError("a wrong code was accepted")
        except errors.PhoneCodeInvalidError:
            pass
        return client, code


async def logs_in_by_code_and_stays_logged_in(witness):
    account = witness.plan["plain"]
    client, code = await witness.by_code(account)
    user = await client.sign_in(account["phone"], code)
    assert user.id == account["user_id"] and user.is_self, user
    session = client.session.save()
    await client.disconnect()
    again = witness.client(session)
    await again.connect()
    assert (await again.get_me()).id == account["user_id"]
    assert await again.log_out()
    stranger = witness.client(session)
    await stranger.connect()
    assert not await stranger.is_user_authorized()
    await stranger.disconnect()


async def logs_in_by_code_and_password(witness):
    account = witness.plan["guarded"]
    client, code = await witness.by_code(account)
    try:
        await client.sign_in(account["phone"], code)
        raise AssertionError("no password was asked for")
    except errors.SessionPasswordNeededError:
        pass
    question = await client(functions.account.GetPasswordRequest())
    assert question.has_password and question.hint == "a cave", question
    try:
        await client.sign_in(password="open barley")
        raise AssertionError("a wrong password was accepted")
    except errors.PasswordHashInvalidError:
        pass
    user = await client.sign_in(password="open sesame")
    assert user.id == account["user_id"], user
    assert (await client.get_me()).phone == account["phone"].lstrip("+")
    await client.disconnect()


async def shows_a_code_and_waits(witness):
    client = await witness.fresh()
    login = await client.qr_login()
    waiting = asyncio.create_task(login.wait(DEADLINE))
    # Until the task listens for the update.
    await asyncio.sleep(0)
    return client, login, waiting


async def logs_in_by_a_code_that_another_device_scans(witness):
    account = witness.plan["plain"]
    scanner = witness.client(account["session_string"])
    await scanner.connect()
    client, login, waiting = await shows_a_code_and_waits(witness)
    accepted = await scanner(functions.auth.AcceptLoginTokenRequest(login.token))
    assert not accepted.password_pending, accepted
    user = await waiting
    assert user.id == account["user_id"], user
    assert (await client.get_me()).id == account["user_id"]
    await client.disconnect()
    await scanner.disconnect()


async def logs_in_by_a_scanned_code_and_password(witness):
    account = witness.plan["guarded"]
    client, login, waiting = await shows_a_code_and_waits(witness)
    await witness.control(f"/accounts/{account['user_id']}/scan_qr", {"url": login.url})
    try:
        await waiting
        raise AssertionError("no password was asked for")
    except errors.SessionPasswordNeededError:
        pass
    user = await client.sign_in(password="open sesame")
    assert user.id == account["user_id"], user
    await client.disconnect()


async def follows_to_another_datacenter(witness):
    account = witness.plan["remote"]
    client, code = await witness.by_code(account)
    assert client.session.dc_id == 4, client.session.dc_id
    user = await client.sign_in(account["phone"], code)
    assert user.id == account["user_id"], user
    await client.disconnect()

    client, login, waiting = await shows_a_code_and_waits(witness)
    await witness.control(f"/accounts/{account['user_id']}/scan_qr", {"url": login.url})
    assert (await waiting).id == account["user_id"]
    assert client.session.dc_id == 4, client.session.dc_id
    assert (await client.get_me()).id == account["user_id"]
    await client.disconnect()


async def logs_a_bot_in(witness):
    account = witness.plan["bot"]
    client = await witness.fresh()
    try:
        await client.sign_in(bot_token=account["bot_token"] + "x")
        raise AssertionError("a wrong token was accepted")
    except errors.AccessTokenInvalidError:
        pass
    user = await client.sign_in(bot_token=account["bot_token"])
    assert user.bot and user.id == account["user_id"], user
    assert (await client.get_me()).bot
    await client.disconnect()


async def is_told_to_sign_up(witness):
    client = await witness.fresh()
    await client.send_code_request("+441234567890")
    code = (await witness.control("/phones/+441234567890/code"))["code"]
    try:
        await client.sign_in("+441234567890", code)
        raise AssertionError("nobody was logged in as somebody")
    except errors.PhoneNumberUnoccupiedError:
        pass
    await client.disconnect()


async def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        plan = json.load(file)
    with open(plan["public_key"], encoding="ascii") as file:
        rsa.add_key(file.read(), old=False)
    witness = Witness(plan)
    await logs_in_by_code_and_stays_logged_in(witness)
    await logs_in_by_code_and_password(witness)
    await logs_in_by_a_code_that_another_device_scans(witness)
    await logs_in_by_a_scanned_code_and_password(witness)
    await follows_to_another_datacenter(witness)
    await logs_a_bot_in(witness)
    await is_told_to_sign_up(witness)
    print("witnessed")


asyncio.run(asyncio.wait_for(main(), 120))
