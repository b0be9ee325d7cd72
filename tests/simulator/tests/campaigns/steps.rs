//! The calls of a campaign, as the tests make them.

use grammers_client::tl::{enums, functions as f, types};
use telewarden_simulator::{ChatKind, ChatRules, Contacted, NewChat};

use crate::support::{Client, Stage};

/// Somebody by phone, with the caller's access hash.
pub(crate) async fn found(client: &Client, phone: &str) -> types::InputUser {
    let phone = phone.to_owned();
    let enums::contacts::ResolvedPeer::Peer(resolved) =
        client.invoke(&f::contacts::ResolvePhone { phone }).await.unwrap();
    let [enums::User::User(user)] = &resolved.users[..] else { panic!("one user") };
    types::InputUser { user_id: user.id, access_hash: user.access_hash.unwrap() }
}

pub(crate) fn to(user: &types::InputUser) -> enums::InputPeer {
    let types::InputUser { user_id, access_hash } = *user;
    types::InputPeerUser { user_id, access_hash }.into()
}

pub(crate) fn invitation(
    channel: &types::InputChannel,
    users: &[&types::InputUser],
) -> f::channels::InviteToChannel {
    let users = users.iter().map(|user| enums::InputUser::User((*user).clone())).collect();
    f::channels::InviteToChannel { channel: channel.clone().into(), users }
}

pub(crate) fn addition(chat_id: i64, user: &types::InputUser) -> f::messages::AddChatUser {
    f::messages::AddChatUser { chat_id, user_id: user.clone().into(), fwd_limit: 0 }
}

pub(crate) fn contact(phone: &str, client_id: i64) -> enums::InputContact {
    types::InputPhoneContact {
        client_id,
        phone: phone.to_owned(),
        first_name: format!("Contact {client_id}"),
        last_name: "Imported".to_owned(),
        note: None,
    }
    .into()
}

pub(crate) async fn import(
    client: &Client,
    contacts: Vec<enums::InputContact>,
) -> types::contacts::ImportedContacts {
    let enums::contacts::ImportedContacts::Contacts(imported) =
        client.invoke(&f::contacts::ImportContacts { contacts }).await.unwrap();
    imported
}

pub(crate) fn new_contact(id: &types::InputUser, first_name: &str) -> f::contacts::AddContact {
    f::contacts::AddContact {
        add_phone_privacy_exception: false,
        id: id.clone().into(),
        first_name: first_name.to_owned(),
        last_name: String::new(),
        phone: String::new(),
        note: None,
    }
}

/// What an accepted invitation answers: service messages told, and who is missing with the flags.
pub(crate) fn outcome(answer: enums::messages::InvitedUsers) -> (usize, Vec<(i64, bool, bool)>) {
    let enums::messages::InvitedUsers::Users(invited) = answer;
    let enums::Updates::Updates(updates) = invited.updates else { panic!("updates in full") };
    let new = |update: &&enums::Update| {
        matches!(update, enums::Update::NewChannelMessage(_) | enums::Update::NewMessage(_))
    };
    let missing = invited.missing_invitees.iter().map(|invitee| {
        let enums::MissingInvitee::Invitee(invitee) = invitee;
        let types::MissingInvitee { premium_would_allow_invite, premium_required_for_pm, user_id } =
            *invitee;
        (user_id, premium_would_allow_invite, premium_required_for_pm)
    });
    (updates.updates.iter().filter(new).count(), missing.collect())
}

impl Stage {
    /// A chat whose only member is the first account, an admin of it; answers the marked id.
    pub(crate) async fn chat_of_admin(&self, kind: ChatKind, rules: ChatRules) -> i64 {
        let title = "Campaign".to_owned();
        let admins = vec![self.ids()[0]];
        let new = NewChat { kind, title, username: None, members: vec![], admins };
        self.simulator.add_chat_with(new, rules).await.unwrap().chat_id
    }

    pub(crate) async fn member_ids(&self, chat_id: i64) -> Vec<i64> {
        let members = self.simulator.members(chat_id).await.unwrap();
        members.iter().map(|member| member.user_id).collect()
    }

    /// The books without what differs from run to run: who, by whom, why not.
    pub(crate) async fn reached(&self) -> Vec<(i64, i64, Option<String>)> {
        let short = |entry: Contacted| {
            assert_eq!(entry.accepted, entry.refused_with.is_none());
            assert!(entry.date > 1_600_000_000);
            (entry.user_id, entry.by, entry.refused_with.map(|why| why.into_owned()))
        };
        self.simulator.contacted().await.into_iter().map(short).collect()
    }
}
