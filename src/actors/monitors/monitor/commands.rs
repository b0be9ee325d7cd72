//! What a command changes in a monitor: its sessions, or that it exists. Durable before anyone is
//! told.

use crate::actors::tree::actor::{ActorProcessingErr, ActorRef, RpcReplyPort};

use super::{Configure, MonitorActor, MonitorMsg};
use crate::actors::accounts::fleet::{Hold, Holder, MakeReply, replying};
use crate::failpoint;
use crate::protocol::accounts::record::PoolMember;
use crate::protocol::bridge::event::{self, CommandOutcome, MonitorChange};
use crate::protocol::bridge::reply_to::ReplyTo;
use crate::protocol::monitors::failover::Input;
use crate::protocol::monitors::record::MonitorPhase;
use crate::store::{CommitError, Op};

impl MonitorActor {
    pub(super) async fn configure(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        order: Configure,
        reply: RpcReplyPort<Result<(), CommitError>>,
    ) -> Result<(), ActorProcessingErr> {
        let Configure { chat, sessions, reply_to, also, hold: _hold, .. } = order;
        let same = self.record.ordered == sessions && self.record.phase == MonitorPhase::Running;
        let mut ops = also;
        let mut record = self.record.clone();
        record.chat = chat;
        if !same {
            record.ordered.clone_from(&sessions);
            record.pool.clone_from(&sessions);
            record.phase = MonitorPhase::Running;
            record.exhausted = None;
        }
        if record != self.record {
            ops.push(Op::PutMonitor(record.clone()));
        }
        let outcome = CommandOutcome::Monitoring { chat: record.chat.clone(), changed: !same };
        let told = reply_to.map(|to| replying(&self.context.tree, to, outcome));
        failpoint::reach("monitor.configure.before");
        let outcome = match ops.is_empty() && told.is_none() {
            true => Ok(()),
            false => self.commit(record.ordered.clone(), ops, told).await,
        };
        failpoint::reach("monitor.configure.after");
        let committed = outcome.is_ok();
        let _ = reply.send(outcome);
        if !committed {
            return Ok(());
        }
        self.record = record;
        if same {
            return Ok(());
        }
        self.retry = true;
        self.last_error = None;
        self.step(myself, Input::Replace(sessions)).await
    }

    pub(super) async fn stop(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        reply_to: Option<ReplyTo>,
        also: Vec<Op>,
        reply: RpcReplyPort<Result<(), CommitError>>,
    ) -> Result<(), ActorProcessingErr> {
        let mut ops = also;
        ops.push(Op::DeleteMonitor(self.key.clone()));
        if self.context.settings.extra_events
            && let Some(member) = self.machine.current()
        {
            let change = MonitorChange::Stopped;
            let chat = &self.record.chat;
            let entry = event::monitor_changed(chat, &member.session, change, self.context.now());
            ops.push(self.append(entry));
        }
        let outcome =
            CommandOutcome::Stopped { chat: self.record.chat.clone(), was_monitored: true };
        let told = reply_to.map(|to| replying(&self.context.tree, to, outcome));
        failpoint::reach("monitor.stop.before");
        let outcome = self.commit(Vec::new(), ops, told).await;
        failpoint::reach("monitor.stop.after");
        if outcome.is_ok() {
            self.step(myself, Input::Stop).await?;
            self.context.status.monitor_gone(&self.key);
        }
        // Also when the store has failed: whoever asks for the chat then reads what there is of it.
        myself.drain()?;
        let _ = reply.send(outcome);
        Ok(())
    }

    /// Makes a change durable after which the monitor uses `sessions`. Those of users are their accounts';
    /// what becomes of the bridge's is the fleet's to decide.
    async fn commit(
        &self,
        sessions: Vec<PoolMember>,
        mut ops: Vec<Op>,
        reply: Option<MakeReply>,
    ) -> Result<(), CommitError> {
        let store = &self.context.store;
        if self.record.owner.is_some() {
            ops.extend(reply.map(|make| make(&[])));
            return store.commit(ops).await;
        }
        let uses = (Holder::Monitor(self.key.clone()), sessions);
        Hold::commit(&self.fleet, store, uses, ops, reply).await
    }
}
