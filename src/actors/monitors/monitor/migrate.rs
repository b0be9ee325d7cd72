//! A basic group that Telegram has made a supergroup: the chat goes on there under another id, whose
//! messages are numbered anew, for everybody alike. What was said before is told to its end first.

use std::time::Duration;

use crate::actors::tree::actor::{ActorProcessingErr, ActorRef};

use super::{MonitorActor, MonitorMsg};
use crate::actors::accounts::account::AccountMsg;
use crate::actors::accounts::fleet::FleetMsg;
use crate::failpoint;
use crate::protocol::bridge::event;
use crate::protocol::monitors::cursor::Cursor;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::failure::Failure;
use crate::store::Op;

/// Where the numbers of a channel begin.
const FIRST_PTS: i32 = 1;
/// How long a bot that has told nothing of the group yet waits for what was said in it: it cannot
/// look, and what was missed comes with the account's own difference.
const BOT_LOOKS: u32 = 30;
/// Pause between its looks at what has come.
const BOT_PAUSE: Duration = Duration::from_secs(1);

impl MonitorActor {
    /// Whether the group may not be read any more because it has become a supergroup: that is no
    /// loss of the chat, which goes on there.
    pub(super) fn is_closed_behind(&self, failure: &Failure) -> bool {
        let is_gone = matches!(failure, Failure::ChatLost { .. } | Failure::Rejected { .. });
        let is_closed = is_gone && self.opening.migrated_to.is_some();
        if is_closed {
            self.context.metrics.gap_unfillable();
            tracing::warn!(chat = %self.key, error = %failure, "the group has become a supergroup and cannot be read any more; what was said in it and did not come live is missing");
        }
        is_closed
    }

    /// Goes on from the group, all of whose history was read, to the supergroup that it has become.
    /// `false`: not yet.
    pub(super) async fn leave_group(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        peer: PeerRecord,
    ) -> Result<bool, ActorProcessingErr> {
        if std::mem::take(&mut self.overflowed) && !self.held.is_empty() && self.is_blind() {
            self.context.metrics.gap_unfillable();
            tracing::warn!(chat = %self.key, "more was said before the group became a supergroup than a bot can keep; the newest of it is missing");
        }
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let shares = std::mem::take(&mut self.held_shares);
            self.publish(held, false, shares).await?;
            // A bot knows from where to ask on from now on.
            self.opening.read_again();
            return Ok(true);
        }
        if self.cursor.is_some() && self.is_blind() && self.opening.waited < BOT_LOOKS {
            self.opening.waited += 1;
            let epoch = self.epoch;
            myself.send_after(BOT_PAUSE, move || MonitorMsg::OpenAgain { epoch });
            return Ok(false);
        }
        self.migrate(peer).await?;
        Ok(true)
    }

    /// One commit: after a crash the chat is either where it was, with its place in it, or in the
    /// supergroup, where everything is owed since it was asked for.
    async fn migrate(&mut self, peer: PeerRecord) -> Result<(), ActorProcessingErr> {
        let (Some(from), Some(member)) = (self.record.marked_id, self.machine.current()) else {
            self.opening.migrated_to = None;
            return Ok(());
        };
        let (account, session) = (member.account, member.session.clone());
        let goes_on = self.cursor.is_some();
        let mut record = self.record.clone();
        (record.marked_id, record.migrated_from) = (Some(peer.id), Some(from));
        record.names.clear();
        // A bot cannot look for the place to start; what was listened to before goes on with the
        // first message.
        let starts = self.opening.is_bot && goes_on;
        record.start_pts = starts.then_some(FIRST_PTS);
        let place = self.cursor.as_ref().filter(|_| starts);
        let cursor = place.map(|old| Cursor::starting_after(0, old.last_date, None));
        let mut ops = vec![Op::DeleteMonitor(self.key.clone()), Op::PutMonitor(record.clone())];
        if let Some(cursor) = cursor.clone() {
            ops.push(Op::PutCursor { chat: self.key.clone(), cursor });
        }
        if self.context.settings.extra_events {
            let chat = &record.chat;
            ops.push(self.append(event::monitor_migrated(
                chat,
                &session,
                from,
                peer.id,
                self.context.now(),
            )));
        }
        failpoint::reach("monitor.migrate.before");
        self.context.store.submit(ops, |_| {}).await?;
        failpoint::reach("monitor.migrate.after");
        tracing::info!(chat = %self.key, session = %session, to = %peer.id, "the group has become a supergroup; it is listened to there from here on");
        (self.record, self.cursor) = (record, cursor);
        self.forget_held();
        self.opening.migrate(peer);
        let (key, chat) = (self.key.clone(), peer.id);
        if let Some(source) = &self.source {
            let _ = source.cast(AccountMsg::Follow { key: key.clone(), chat });
        }
        let _ = self.fleet.cast(FleetMsg::Follow { account, key, chat });
        Ok(())
    }
}
