"""An unrelated client runs a small campaign and recovers a password: Telethon, as published.

Usage: telethon_campaign.py PLAN.json, a file with {"host", "port", "control", "public_key", "me",
"friend", "closed", "premium", "hidden", "guarded", "supergroup", "group"}. The first six of the
accounts are as the control API made them: "closed" is not to be added to chats, "premium" is reached
only with Telegram Premium, "hidden" is not to be found by phone, and "guarded" has the password
"open sesame" and the recovery mail "john@example.org". "me" is an admin of both chats, which are
marked ids, and alone in them. Every step that does not come out as it must ends the program with a
traceback.
"""

import asyncio
import json
import sys
import urllib.request

from telethon import TelegramClient, errors, functions, types, utils
from telethon.crypto import rsa
from telethon.password import compute_digest
from telethon.sessions import StringSession

DEADLINE = 20


class Witness:
    def __init__(self, plan):
        self.plan = plan

    async def client(self, session=None):
        client = TelegramClient(
            StringSession(session), 1, "0" * 32, connection_retries=0, auto_reconnect=False,
            flood_sleep_threshold=0,
        )
        if session is None:
            client.session.set_dc(2, self.plan["host"], self.plan["port"])
        await client.connect()
        return client

    async def control(self, path, body=None):
        def call():
            data = None if body is None else json.dumps(body).encode()
            with urllib.request.urlopen(self.plan["control"] + path, data, DEADLINE) as answer:
                return json.load(answer)

        return await asyncio.to_thread(call)

    async def refused(self, client, error, request):
        try:
            await client(request)
        except error as refusal:
            return refusal
        raise AssertionError(f"{request} was accepted")


async def imports_and_adds_contacts(witness, me):
    plan = witness.plan

    def phone(client_id, number):
        return types.InputPhoneContact(client_id, number, f"Contact {client_id}", "")

    contacts = [
        phone(1, plan["friend"]["phone"]),
        phone(2, plan["hidden"]["phone"]),
        phone(3, "+441234567890"),
    ]
    imported = await me(functions.contacts.ImportContactsRequest(contacts))
    [one] = imported.imported
    assert (one.user_id, one.client_id) == (plan["friend"]["user_id"], 1), imported
    assert not imported.retry_contacts and len(imported.users) == 1, imported
    assert imported.users[0].contact and imported.users[0].phone, imported.users

    resolved = await me(functions.contacts.ResolvePhoneRequest(plan["closed"]["phone"]))
    [closed] = resolved.users
    assert closed.id == plan["closed"]["user_id"] and not closed.contact, closed
    for nobody in (plan["hidden"]["phone"], "+441234567890"):
        request = functions.contacts.ResolvePhoneRequest(nobody)
        await witness.refused(me, errors.PhoneNotOccupiedError, request)

    added = await me(functions.contacts.AddContactRequest(closed, "Ann", "", phone=""))
    assert added.users[0].first_name == "Ann" and added.users[0].contact, added
    listed = await me(functions.contacts.GetContactsRequest(0))
    assert len(listed.contacts) == 2 and listed.saved_count == 2, listed
    [kept] = [
        entry
        for entry in await witness.control(f"/accounts/{plan['me']['user_id']}/contacts")
        if entry["user_id"] == closed.id
    ]
    assert kept["first_name"] == "Ann" and not kept["shares_phone"], kept
    await me(functions.contacts.DeleteContactsRequest([closed]))
    listed = await me(functions.contacts.GetContactsRequest(0))
    assert [contact.user_id for contact in listed.contacts] == [plan["friend"]["user_id"]], listed


async def invites(witness, me):
    plan = witness.plan
    await me.get_dialogs()
    group = await me.get_input_entity(plan["supergroup"])
    people = []
    for name in ("friend", "closed", "premium"):
        found = await me(functions.contacts.ResolvePhoneRequest(plan[name]["phone"]))
        people.append(utils.get_input_user(found.users[0]))
    invited = await me(functions.channels.InviteToChannelRequest(group, people))
    assert isinstance(invited, types.messages.InvitedUsers), invited
    missing = {
        invitee.user_id: (
            bool(invitee.premium_would_allow_invite), bool(invitee.premium_required_for_pm)
        )
        for invitee in invited.missing_invitees
    }
    expected = {
        plan["closed"]["user_id"]: (False, False), plan["premium"]["user_id"]: (True, True)
    }
    assert missing == expected, missing
    there = functions.channels.GetParticipantRequest(group, people[0])
    assert (await me(there)).participant.user_id == plan["friend"]["user_id"]
    absent = functions.channels.GetParticipantRequest(group, people[1])
    await witness.refused(me, errors.UserNotParticipantError, absent)
    again = functions.channels.InviteToChannelRequest(group, people[:1])
    await witness.refused(me, errors.UserAlreadyParticipantError, again)

    chat_id = -plan["group"]
    added = await me(functions.messages.AddChatUserRequest(chat_id, people[0], 0))
    assert not added.missing_invitees and added.updates.updates, added
    full = await me(functions.messages.GetFullChatRequest(chat_id))
    members = {person.user_id for person in full.full_chat.participants.participants}
    assert members == {plan["me"]["user_id"], plan["friend"]["user_id"]}, members

    link = full.full_chat.exported_invite.link
    made = await me(functions.messages.ExportChatInviteRequest(group, title="Campaign"))
    assert made.link != link and made.title == "Campaign", made
    friendly = {"invite_link": made.link}
    path = f"/accounts/{plan['hidden']['user_id']}/join"
    assert (await witness.control(path, friendly))["joined"]
    request = functions.messages.GetChatInviteImportersRequest(
        group, offset_date=None, offset_user=types.InputUserEmpty(), limit=10, link=made.link
    )
    used = await me(request)
    assert [user.user_id for user in used.importers] == [plan["hidden"]["user_id"]], used
    read = await me(functions.messages.GetExportedChatInviteRequest(group, made.link))
    assert read.invite.usage == 1, read


async def writes(witness, me):
    plan = witness.plan
    found = await me(functions.contacts.ResolvePhoneRequest(plan["premium"]["phone"]))
    refusal = await witness.refused(
        me, errors.ForbiddenError, functions.messages.SendMessageRequest(found.users[0], "hello")
    )
    assert "PRIVACY_PREMIUM_REQUIRED" in str(refusal), refusal
    limits = {"messages_before_flood": 1, "flood_seconds": 1}
    await witness.control("/limits", limits)
    found = await me(functions.contacts.ResolvePhoneRequest(plan["closed"]["phone"]))
    await me.send_message(found.users[0], "the first")
    flood = await witness.refused(
        me, errors.FloodWaitError, functions.messages.SendMessageRequest(found.users[0], "more")
    )
    assert flood.seconds == 1, flood
    await asyncio.sleep(1.2)
    await me.send_message(found.users[0], "the second")
    await witness.control("/limits", {})

    books = await witness.control("/books/contacted")
    seen = [(entry["user_id"], entry["kind"], entry["accepted"]) for entry in books]
    ids = {name: plan[name]["user_id"] for name in ("friend", "closed", "premium")}
    expected = [
        (ids["friend"], "invite", True),
        (ids["closed"], "invite", False),
        (ids["premium"], "invite", False),
        (ids["friend"], "invite", False),
        (ids["friend"], "invite", True),
        (ids["premium"], "message", False),
        (ids["closed"], "message", True),
        (ids["closed"], "message", True),
    ]
    assert seen == expected, books
    assert all(entry["by"] == plan["me"]["user_id"] for entry in books), books


async def recovers_a_password(witness):
    account = witness.plan["guarded"]
    await witness.control("/limits", {"resend_seconds": 2})
    client = await witness.client()
    sent = await client.send_code_request(account["phone"])
    assert isinstance(sent.type, types.auth.SentCodeTypeApp) and sent.timeout is None, sent
    assert isinstance(sent.next_type, types.auth.CodeTypeSms), sent
    resend = functions.auth.ResendCodeRequest(account["phone"], sent.phone_code_hash)
    again = await client(resend)
    assert isinstance(again.type, types.auth.SentCodeTypeSms) and again.timeout == 2, again
    early = await witness.refused(client, errors.FloodWaitError, resend)
    assert 0 < early.seconds <= 2, early
    await asyncio.sleep(2.2)
    last = await client(resend)
    assert isinstance(last.type, types.auth.SentCodeTypeCall) and last.next_type is None, last
    await witness.refused(client, errors.SendCodeUnavailableError, resend)

    code = (await witness.control(f"/accounts/{account['user_id']}/code"))["code"]
    try:
        await client.sign_in(account["phone"], code, phone_code_hash=sent.phone_code_hash)
        raise AssertionError("no password was asked for")
    except errors.SessionPasswordNeededError:
        pass
    question = await client(functions.account.GetPasswordRequest())
    assert question.has_password and question.has_recovery, question
    asked = await client(functions.auth.RequestPasswordRecoveryRequest())
    assert asked.email_pattern == "j***n@example.org", asked
    wrong = functions.auth.CheckRecoveryPasswordRequest("0000000")
    await witness.refused(client, errors.CodeInvalidError, wrong)
    empty = functions.auth.RecoverPasswordRequest("")
    await witness.refused(client, errors.CodeEmptyError, empty)
    mailed = await witness.control(f"/accounts/{account['user_id']}/mail")
    assert mailed["email"] == "john@example.org", mailed
    assert await client(functions.auth.CheckRecoveryPasswordRequest(mailed["code"]))

    # A new password, as Telethon itself derives it.
    algo = question.new_algo
    algo.salt1 += b"\x07" * 32
    settings = types.account.PasswordInputSettings(
        new_algo=algo, new_password_hash=compute_digest(algo, "new words"), hint="new"
    )
    request = functions.auth.RecoverPasswordRequest(mailed["code"], settings)
    welcome = await client(request)
    assert welcome.user.id == account["user_id"], welcome
    assert (await client.get_me()).id == account["user_id"]
    await client.disconnect()

    another = await witness.client()
    await another.send_code_request(account["phone"])
    code = (await witness.control(f"/accounts/{account['user_id']}/code"))["code"]
    try:
        await another.sign_in(account["phone"], code)
        raise AssertionError("the new password was not asked for")
    except errors.SessionPasswordNeededError:
        pass
    user = await another.sign_in(password="new words")
    assert user.id == account["user_id"], user
    await another.disconnect()


async def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        plan = json.load(file)
    with open(plan["public_key"], encoding="ascii") as file:
        rsa.add_key(file.read(), old=False)
    witness = Witness(plan)
    me = await witness.client(plan["me"]["session_string"])
    await imports_and_adds_contacts(witness, me)
    await invites(witness, me)
    await writes(witness, me)
    await me.disconnect()
    await recovers_a_password(witness)
    print("witnessed")


asyncio.run(asyncio.wait_for(main(), 120))
