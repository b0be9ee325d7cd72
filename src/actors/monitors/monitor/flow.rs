//! The way of a chat's messages: live ones are published, or held while the chat is being opened.
//! Nothing is published twice, nothing out of order.

use crate::actors::tree::actor::{ActorProcessingErr, ActorRef};

use super::{MonitorActor, MonitorMsg};
use crate::actors::accounts::delivery::{Delivery, Share};
use crate::clock::instant;
use crate::failpoint;
use crate::protocol::bridge::event;
use crate::protocol::bridge::event::MessageContext;
use crate::protocol::bridge::outbox::OutboxEntry;
use crate::protocol::messages::message::Message;
use crate::protocol::monitors::cursor;
use crate::protocol::monitors::cursor::{Cursor, fingerprint};
use crate::protocol::monitors::failover::{Input, MonitorState};
use crate::store::{CommitError, Op};

/// Live messages kept while the chat is being opened. History brings those beyond it.
const HELD_MAX: usize = 512;
/// The same where there is no history to bring them.
const HELD_BLIND_MAX: usize = 8192;
/// Batches of a bot that wait for durability meanwhile; each takes room in its account's window,
/// of which half stays free for its other chats.
const HELD_SHARES_MAX: usize = 16;

impl MonitorActor {
    pub(super) async fn deliver(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        delivery: Delivery,
    ) -> Result<(), ActorProcessingErr> {
        let Delivery { account, chat, title, messages, share } = delivery;
        let is_elsewhere = self.record.marked_id != Some(chat);
        if !self.is_current(account)
            || is_elsewhere
            || self.machine.state() == MonitorState::Stopped
        {
            // Nobody wants it, or the session in use reads it from history; or it was said where the
            // chat was before, of which everything is told.
            share.into_iter().for_each(Share::finish);
            return Ok(());
        }
        if title.is_some() && title != self.record.title {
            self.record.title = title;
        }
        match self.machine.state() {
            MonitorState::Active if self.must_look(&messages) => {
                // The one look before a bot's first message says nothing about those to come, and
                // holds none back for long.
                let is_first = self.opening.is_bot && !self.anchored;
                self.opening.is_first_look = is_first;
                self.leaping = !is_first;
                self.hold(messages, share);
                self.step(myself, Input::Reopen).await?;
                self.anchored = true;
                Ok(())
            }
            MonitorState::Active => {
                self.anchored |= !messages.is_empty();
                self.publish(messages, false, share.into_iter().collect()).await.map(drop)
            }
            _ => {
                self.hold(messages, share);
                Ok(())
            }
        }
    }

    /// Whether a message lies further ahead of the one before it than may be. Everyone's ids of a
    /// channel follow each other; an account's own are spread over its chats.
    ///
    /// Nothing says where a channel stands that the link has not met, or has let go of, so that its
    /// first update passes for the next one. A user's link lets go of all when it ends: whatever id is
    /// left out is looked for in the history. A bot's seldom does, and a bot does not see everything:
    /// for it only what the cursor could not tell any more is read, except before the first message
    /// since the chat was opened.
    pub(super) fn is_leap(&self, messages: &[Message]) -> bool {
        let is_everyones = |cursor: &&Cursor| cursor.owner.is_none();
        let Some(cursor) = self.cursor.as_ref().filter(is_everyones) else { return false };
        if self.opening.is_bot && cursor.last_id == 0 {
            return !self.anchored && self.record.start_pts.is_some() && !messages.is_empty();
        }
        let sees_gaps = self.opening.is_bot && self.anchored;
        let widest = if sees_gaps { i64::from(cursor::WINDOW) } else { 1 };
        let mut last = i64::from(cursor.last_id);
        messages.iter().any(|message| {
            let step = i64::from(message.id) - last;
            last = last.max(i64::from(message.id));
            step > widest
        })
    }

    /// Whether history has to be read before these are published: ids are left out, or those that
    /// were left out before could not be told from published ones any more.
    fn must_look(&self, messages: &[Message]) -> bool {
        (self.is_leap(messages) && !self.may_leap()) || self.would_forget(messages)
    }

    pub(super) fn would_forget(&self, messages: &[Message]) -> bool {
        let ids = messages.iter().map(|message| message.id);
        let is_everyones = |cursor: &&Cursor| cursor.owner.is_none() && cursor.last_id > 0;
        self.cursor.as_ref().filter(is_everyones).is_some_and(|it| it.would_forget(ids))
    }

    /// Whether history has just been asked and knew nothing of the ids that are left out. Where ids
    /// are left out all the time (a bot does not see what is said to others), asking for each would
    /// use up what the account may ask; what is really missing is found by the next check.
    fn may_leap(&self) -> bool {
        self.leaps_until.is_some_and(|until| instant() < until)
    }

    /// Whether there is no history to ask for: outside channels a bot that has published nothing
    /// yet has only what comes.
    pub(super) fn is_blind(&self) -> bool {
        let has_published = self.cursor.as_ref().is_some_and(|cursor| cursor.last_id > 0);
        self.opening.is_bot && !has_published && self.record.start_pts.is_none()
    }

    /// Keeps live messages until the chat is open. Whatever a crash would lose here is fetched
    /// again, so their shares are finished at once. Only of a bot some wait for durability: it
    /// cannot read history, and asks by ids, of which a hole may hide what comes after it.
    fn hold(&mut self, messages: Vec<Message>, share: Option<Share>) {
        let newest = messages.iter().map(|message| message.id).max();
        self.opening.known_id = self.opening.known_id.max(newest.unwrap_or(0));
        let room = if self.is_blind() { HELD_BLIND_MAX } else { HELD_MAX };
        if self.held.len() + messages.len() > room {
            self.overflowed = true;
        } else {
            self.held.extend(messages);
        }
        let may_wait = share.as_ref().is_some_and(Share::has_room_behind)
            && self.held_shares.len() < HELD_SHARES_MAX;
        if self.opening.is_bot && may_wait {
            self.held_shares.extend(share);
            return;
        }
        share.into_iter().for_each(Share::finish);
    }

    pub(super) fn forget_held(&mut self) {
        self.held.clear();
        self.overflowed = false;
        self.looked_twice = false;
        std::mem::take(&mut self.held_shares).into_iter().for_each(Share::finish);
    }

    /// Hands messages that have not been published before to the outbox, together with the cursor
    /// that says so; answers how many.
    pub(super) async fn publish(
        &mut self,
        messages: Vec<Message>,
        recovered: bool,
        shares: Vec<Share>,
    ) -> Result<usize, ActorProcessingErr> {
        if !messages.is_empty() {
            failpoint::stumble("monitor", &self.key);
        }
        let mut ops = Vec::with_capacity(messages.len() + 1);
        let mut published = 0;
        if let (Some(cursor), Some(peer), Some(member)) =
            (&mut self.cursor, self.opening.peer, self.machine.current())
        {
            let at = self.context.now();
            for message in messages {
                let sender = message.sender.as_ref().map(|sender| sender.id);
                let print = fingerprint(sender, message.date, &message.text);
                if !cursor.accept(message.id, message.date, print) {
                    continue;
                }
                let context = MessageContext {
                    chat: &self.record.chat,
                    key: &self.key,
                    marked: peer.id,
                    migrated_from: self.record.migrated_from,
                    title: self.record.title.as_deref(),
                    session: &member.session,
                    owner: cursor.owner,
                    recovered,
                };
                let event = event::incoming_message(&context, &message, at);
                let owner = self.record.owner.clone();
                ops.push(Op::Append(OutboxEntry { owner, ..event }));
            }
            published = ops.len();
            if !ops.is_empty() {
                ops.push(Op::PutCursor { chat: self.key.clone(), cursor: cursor.clone() });
            }
        }
        if ops.is_empty() {
            shares.into_iter().for_each(Share::finish);
            return Ok(0);
        }
        let done = move |outcome: Result<(), CommitError>| {
            if outcome.is_ok() {
                shares.into_iter().for_each(Share::finish);
            }
        };
        failpoint::reach("monitor.publish.before");
        self.context.store.submit(ops, done).await?;
        failpoint::reach("monitor.publish.after");
        Ok(published)
    }
}
