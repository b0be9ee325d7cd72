//! Invite links and who came in by them.

use grammers_client::tl::{enums, functions as f, types};
use telewarden_simulator::{ChatKind, ChatRules, NewLink};

use super::steps::*;
use crate::support::{Client, Stage, peer};

fn export(peer: enums::InputPeer) -> f::messages::ExportChatInvite {
    f::messages::ExportChatInvite {
        legacy_revoke_permanent: false,
        request_needed: false,
        peer,
        expire_date: None,
        usage_limit: None,
        title: None,
        subscription_pricing: None,
    }
}

fn known(invite: enums::ExportedChatInvite) -> types::ChatInviteExported {
    match invite {
        enums::ExportedChatInvite::ChatInviteExported(invite) => invite,
        other => panic!("unexpected {other:?}"),
    }
}

fn enter(link: &str) -> f::messages::ImportChatInvite {
    f::messages::ImportChatInvite { hash: link.rsplit('+').next().unwrap().to_owned() }
}

async fn importers(
    client: &Client,
    peer: enums::InputPeer,
    link: Option<&str>,
    requested: bool,
) -> (i32, Vec<i64>) {
    let request = f::messages::GetChatInviteImporters {
        requested,
        subscription_expired: false,
        peer,
        link: link.map(str::to_owned),
        q: None,
        offset_date: 0,
        offset_user: enums::InputUser::Empty,
        limit: 100,
    };
    let enums::messages::ChatInviteImporters::Importers(answer) =
        client.invoke(&request).await.unwrap();
    let ids = answer.importers.iter().map(|importer| {
        let enums::ChatInviteImporter::Importer(importer) = importer;
        assert_eq!(importer.requested, requested);
        importer.user_id
    });
    (answer.count, ids.collect())
}

#[tokio::test]
async fn a_link_counts_who_comes_in_by_it_and_ends_when_it_is_used_up() {
    let stage = Stage::with_accounts(4).await;
    let ids = stage.ids();
    let chat = stage.chat_of_admin(ChatKind::Supergroup, ChatRules::default()).await;
    let admin = stage.client(0).await;
    let at = peer(&admin.channel().await);
    let full = f::channels::GetFullChannel { channel: admin.channel().await.into() };
    let own = async || {
        let enums::messages::ChatFull::Full(full) = admin.invoke(&full).await.unwrap();
        let enums::ChatFull::ChannelFull(full) = full.full_chat else { panic!("a channel") };
        known(full.exported_invite.unwrap())
    };
    let own_usage = async || own().await.usage;
    let own = own().await;
    assert!(own.permanent && own.usage.is_none());
    let title = Some("For the campaign".to_owned());
    let limited =
        f::messages::ExportChatInvite { usage_limit: Some(1), title, ..export(at.clone()) };
    let new = known(admin.invoke(&limited).await.unwrap());
    assert!(!new.permanent && new.link != own.link);
    let (one, two) = (stage.client(1).await, stage.client(2).await);
    one.invoke(&enter(&new.link)).await.unwrap();
    assert_eq!(two.refused(&enter(&new.link)).await, "INVITE_HASH_EXPIRED");
    assert!(stage.simulator.join(ids[2], &own.link).await.unwrap());
    let read = f::messages::GetExportedChatInvite { peer: at.clone(), link: new.link.clone() };
    let enums::messages::ExportedChatInvite::Invite(read) = admin.invoke(&read).await.unwrap()
    else {
        panic!("the link");
    };
    assert_eq!(known(read.invite).usage, Some(1));
    assert_eq!(importers(&admin, at.clone(), Some(&new.link), false).await, (1, vec![ids[1]]));
    assert_eq!(importers(&admin, at.clone(), None, false).await.0, 2);
    let listed = f::messages::GetExportedChatInvites {
        revoked: false,
        peer: at.clone(),
        admin_id: enums::InputUser::UserSelf,
        offset_date: None,
        offset_link: None,
        limit: 10,
    };
    let enums::messages::ExportedChatInvites::Invites(listed) =
        admin.invoke(&listed).await.unwrap();
    let links: Vec<_> = listed.invites.into_iter().map(|invite| known(invite).link).collect();
    assert_eq!((listed.count, links), (2, vec![new.link.clone(), own.link.clone()]));
    assert_eq!(own_usage().await, Some(1));
    // Members who are no admins learn nothing of links.
    let theirs = peer(&one.channel().await);
    assert_eq!(one.refused(&export(theirs)).await, "CHAT_ADMIN_REQUIRED");
    // A new link of the chat itself ends the old one.
    let renew = f::messages::ExportChatInvite { legacy_revoke_permanent: true, ..export(at) };
    let renewed = known(admin.invoke(&renew).await.unwrap());
    assert_ne!(renewed.link, own.link);
    let late = stage.client(3).await;
    assert_eq!(late.refused(&enter(&own.link)).await, "INVITE_HASH_EXPIRED");
    late.invoke(&enter(&renewed.link)).await.unwrap();
    let held = stage.simulator.links(chat).await.unwrap();
    let uses: Vec<_> = held.iter().map(|link| (link.revoked, link.uses.len())).collect();
    assert_eq!(uses, [(true, 1), (false, 1), (false, 1)]);
    stage.assert_clean().await;
}

#[tokio::test]
async fn who_asks_to_be_let_in_waits_for_an_admin() {
    let stage = Stage::with_accounts(3).await;
    let ids = stage.ids();
    let chat = stage.chat_of_admin(ChatKind::Supergroup, ChatRules::default()).await;
    let new = NewLink { request_needed: true, ..NewLink::default() };
    let link = stage.simulator.add_link(chat, new).await.unwrap().invite_link;
    let mut admin = stage.client(0).await;
    let at = peer(&admin.channel().await);
    let person = stage.client(1).await;
    assert_eq!(person.refused(&enter(&link)).await, "INVITE_REQUEST_SENT");
    let pending = admin
        .next(|updates| match updates {
            enums::Updates::Updates(updates) => match &updates.updates[..] {
                [enums::Update::PendingJoinRequests(update)] => Some(update.requests_pending),
                _ => None,
            },
            _ => None,
        })
        .await;
    assert_eq!(pending, 1);
    assert!(!stage.simulator.join(ids[2], &link).await.unwrap());
    assert_eq!(importers(&admin, at.clone(), None, true).await.0, 2);
    let input = found(&admin, &stage.accounts[1].phone).await;
    let consent = f::messages::HideChatJoinRequest {
        approved: true,
        peer: at.clone(),
        user_id: input.into(),
    };
    admin.invoke(&consent).await.unwrap();
    assert_eq!(admin.refused(&consent).await, "USER_ALREADY_PARTICIPANT");
    stage.simulator.answer_request(chat, ids[2], false).await.unwrap();
    stage.simulator.answer_request(chat, ids[2], false).await.unwrap_err();
    assert_eq!(stage.member_ids(chat).await, [ids[0], ids[1]]);
    assert_eq!(importers(&admin, at.clone(), None, true).await, (0, vec![]));
    assert_eq!(importers(&admin, at, Some(&link), false).await, (1, vec![ids[1]]));
    stage.assert_clean().await;
}
