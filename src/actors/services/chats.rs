//! Channels and groups of an account: looked up, kept, listed.

use std::time::Duration;

use super::accounts::Accounts;
use crate::actors::accounts::asking::ask_plainly;
use crate::actors::accounts::calls::Asker;
use crate::protocol::accounts::owned::{AttachedChat, OwnedAccount};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::telegram::chat::{ChatRef, ChatTarget, MarkedId};
use crate::protocol::users::owner::Caller;
use crate::protocol::values::page::{Page, PageQuery};
use crate::store::{Op, Reader, RowId};
use crate::telegram::{Call, Outcome};

/// How long looking up a chat may take.
const LOOK_UP_MAX: Duration = Duration::from_secs(15);

impl Accounts {
    pub(super) async fn attach(
        &self,
        who: &Caller,
        account: &OwnedAccount,
        chat: ChatRef,
    ) -> Result<AttachedChat, Refusal> {
        if account.is_paused {
            return Err(Refusal::new(Code::Conflict, "the account is paused; resume it first"));
        }
        let _busy = self.shared.context.erasing.enter(&account.user)?;
        let asked = chat.target.clone();
        let (call, asker) = (Call::Rights(chat.target), Asker::User(who.user.clone()));
        let Outcome::Rights(rights) =
            ask_plainly(&self.shared.fleet, account.key, asker, call, LOOK_UP_MAX).await?
        else {
            return Err(Refusal::new(Code::Internal, "the chat was not looked up"));
        };
        let chat = AttachedChat {
            user: account.user.clone(),
            account: account.id,
            chat: rights.peer.id,
            title: Some(rights.title),
            kind: rights.kind.name().to_owned(),
            username: rights.username,
            is_member: rights.is_member,
            is_admin: rights.is_admin,
            can_post: rights.can_post,
            can_invite: rights.can_invite,
            checked_at: self.shared.context.now(),
        };
        let target = format!("{} {}", account.id, chat.chat);
        let audit_event = self.shared.audit_event(who, &account.user, "chat.attach", target);
        let mut ops = vec![Op::put_row(&chat), Op::Audit(audit_event)];
        // A basic group that has become a supergroup is that one from now on.
        if let ChatTarget::Marked(id) = asked
            && id != chat.chat
        {
            ops.push(Op::delete_row::<AttachedChat>(&account.user, (account.id, id)));
        }
        self.shared.commit(ops).await?;
        Ok(chat)
    }

    pub(super) async fn chats_of(
        &self,
        account: OwnedAccount,
        page: PageQuery,
    ) -> Result<Page<AttachedChat>, Refusal> {
        let after = page.cursor.as_deref().map(|cursor| {
            let id =
                cursor.parse().map_err(|_| Refusal::field("cursor", "it is none that a page gave"));
            id.map(|id| RowId::from((account.id, MarkedId(id))))
        });
        let (own, after) = (Some(RowId::from(account.id)), after.transpose()?);
        let read = move |store: &Reader| {
            store.rows(&account.user, own, after, page.limit.saturating_add(1))
        };
        let mut rows: Vec<AttachedChat> = self.shared.reading(read).await?;
        let more = rows.len() > page.limit;
        rows.truncate(page.limit);
        let next_cursor = rows.last().filter(|_| more).map(|last| last.chat.to_string());
        Ok(Page { items: rows, next_cursor })
    }
}
