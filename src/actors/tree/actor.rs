//! Actors as the tree has them: those of `ractor`, whose mailboxes have no length, with a note beside each of how many
//! messages wait for it and what it does ([`MemberStats`]). The only room that names the library.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use ractor::State;
use tokio::task::JoinHandle;

use super::members::{Mailbox, MemberStats};
use crate::tasks;

pub(in crate::actors) use ractor::rpc::CallResult;
pub(in crate::actors) use ractor::{
    ActorCell, ActorId, ActorProcessingErr, Message, MessagingErr, RpcReplyPort, SpawnErr,
    SupervisionEvent,
};

/// A message that says what it is called.
pub(in crate::actors) trait Named {
    /// The name of its kind, without what it holds.
    fn name(&self) -> &'static str;
}

/// Gives the messages of an actor the names of their variants.
macro_rules! named {
    ($message:ty: $($(#[$when:meta])* $variant:ident),+ $(,)?) => {
        impl $crate::actors::tree::actor::Named for $message {
            fn name(&self) -> &'static str {
                match self {
                    $($(#[$when])* Self::$variant { .. } => stringify!($variant),)+
                }
            }
        }
    };
}
pub(in crate::actors) use named;

/// What can be an actor: the trait of the library (see there), with our [`ActorRef`] in the place of its own.
pub(in crate::actors) trait Actor: Sized + Send + Sync + 'static {
    /// Its messages.
    type Msg: Message + Named;
    /// What it holds while it lives.
    type State: State;
    /// What it is started with.
    type Arguments: State;

    /// Makes its state; whoever starts it waits for this.
    fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        args: Self::Arguments,
    ) -> impl Future<Output = Result<Self::State, ActorProcessingErr>> + Send;

    /// Handles a message. An error ends it, as a panic does.
    fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        _message: Self::Msg,
        _state: &mut Self::State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        async { Ok(()) }
    }

    /// Hears of a child's end. (The library's own way would be to end, too.)
    fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Self::Msg>,
        _event: SupervisionEvent,
        _state: &mut Self::State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        async { Ok(()) }
    }

    /// The last thing that it does when it ends in peace.
    fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        _state: &mut Self::State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        async { Ok(()) }
    }
}

/// An actor that lives, or did. Cheap to clone.
pub(in crate::actors) struct ActorRef<M> {
    inner: ractor::ActorRef<M>,
    mailbox: Arc<Mailbox>,
}

impl<M> Clone for ActorRef<M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), mailbox: Arc::clone(&self.mailbox) }
    }
}

impl<M> Deref for ActorRef<M> {
    type Target = ActorCell;

    fn deref(&self) -> &ActorCell {
        &self.inner
    }
}

impl<M> From<ActorRef<M>> for ActorCell {
    fn from(actor: ActorRef<M>) -> Self {
        (*actor).clone()
    }
}

impl<M: Message> ActorRef<M> {
    /// The actor without its messages, as its parent and its children know it.
    pub(in crate::actors) fn get_cell(&self) -> ActorCell {
        self.inner.get_cell()
    }

    /// Puts a message into its mailbox.
    ///
    /// # Errors
    /// When it has ended; the message comes back.
    pub(in crate::actors) fn cast(&self, message: M) -> Result<(), MessagingErr<M>> {
        self.mailbox.sent();
        self.inner.send_message(message).inspect_err(|_| self.mailbox.not_sent())
    }

    /// The same some time later, unless what is returned is aborted.
    pub(in crate::actors) fn send_after<F>(
        &self,
        pause: Duration,
        message: F,
    ) -> JoinHandle<Result<(), MessagingErr<M>>>
    where
        F: FnOnce() -> M + Send + 'static,
    {
        let actor = self.clone();
        tasks::brief(async move {
            tokio::time::sleep(pause).await;
            actor.cast(message())
        })
    }

    /// Asks it, and waits for the answer for as long as `limit` says.
    ///
    /// # Errors
    /// When it has ended.
    pub(in crate::actors) async fn call<R, F>(
        &self,
        message: F,
        limit: Option<Duration>,
    ) -> Result<CallResult<R>, MessagingErr<M>>
    where
        R: Send + 'static,
        F: FnOnce(RpcReplyPort<R>) -> M,
    {
        self.mailbox.sent();
        let answer = ractor::rpc::call(&self.inner, message, limit).await;
        answer.inspect_err(|_| self.mailbox.not_sent())
    }

    /// A reference for those who know only some of its messages.
    pub(in crate::actors) fn get_derived<T>(&self) -> DerivedRef<T>
    where
        M: From<T>,
        T: TryFrom<M> + 'static,
    {
        let actor = self.clone();
        let send = move |message: T| {
            actor.cast(message.into()).map_err(|error| match error {
                MessagingErr::SendErr(message) => {
                    T::try_from(message).map_or(MessagingErr::ChannelClosed, MessagingErr::SendErr)
                }
                MessagingErr::ChannelClosed => MessagingErr::ChannelClosed,
                MessagingErr::InvalidActorType => MessagingErr::InvalidActorType,
            })
        };
        DerivedRef { id: self.get_id(), send: Arc::new(send) }
    }
}

/// An actor of which only some messages are known. Cheap to clone.
pub(in crate::actors) struct DerivedRef<T> {
    id: ActorId,
    send: Arc<SendDerived<T>>,
}

type SendDerived<T> = dyn Fn(T) -> Result<(), MessagingErr<T>> + Send + Sync;

impl<T> Clone for DerivedRef<T> {
    fn clone(&self) -> Self {
        Self { id: self.id, send: Arc::clone(&self.send) }
    }
}

impl<T: Send + 'static> DerivedRef<T> {
    /// Who it is.
    pub(in crate::actors) fn get_id(&self) -> ActorId {
        self.id
    }

    /// Puts a message into its mailbox.
    ///
    /// # Errors
    /// When it has ended; the message comes back.
    pub(in crate::actors) fn cast(&self, message: T) -> Result<(), MessagingErr<T>> {
        (self.send)(message)
    }

    /// The same some time later.
    pub(in crate::actors) fn send_after<F>(&self, pause: Duration, message: F)
    where
        F: FnOnce() -> T + Send + 'static,
    {
        let actor = self.clone();
        tasks::brief(async move {
            tokio::time::sleep(pause).await;
            // Nobody is there to be told.
            let _ = actor.cast(message());
        });
    }
}

/// An actor of ours as the library runs it.
struct Observed<A> {
    actor: A,
    member: Arc<MemberStats>,
    mailbox: Arc<Mailbox>,
}

impl<A: Actor> Observed<A> {
    fn own(&self, myself: ractor::ActorRef<A::Msg>) -> ActorRef<A::Msg> {
        ActorRef { inner: myself, mailbox: Arc::clone(&self.mailbox) }
    }
}

impl<A: Actor> ractor::Actor for Observed<A> {
    type Msg = A::Msg;
    type State = A::State;
    type Arguments = A::Arguments;

    async fn pre_start(
        &self,
        myself: ractor::ActorRef<A::Msg>,
        args: A::Arguments,
    ) -> Result<A::State, ActorProcessingErr> {
        self.actor.pre_start(self.own(myself), args).await
    }

    async fn handle(
        &self,
        myself: ractor::ActorRef<A::Msg>,
        message: A::Msg,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        let _handling = self.member.handling(&self.mailbox, message.name());
        self.actor.handle(self.own(myself), message, state).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ractor::ActorRef<A::Msg>,
        event: SupervisionEvent,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.actor.handle_supervisor_evt(self.own(myself), event, state).await
    }

    async fn post_stop(
        &self,
        myself: ractor::ActorRef<A::Msg>,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.actor.post_stop(self.own(myself), state).await
    }
}

/// Starts an actor under `supervisor`, which hears of its end.
///
/// # Errors
/// When it could not be started, and why.
pub(in crate::actors) async fn spawn_child<A: Actor>(
    member: Arc<MemberStats>,
    actor: A,
    args: A::Arguments,
    supervisor: ActorCell,
) -> Result<ActorRef<A::Msg>, SpawnErr> {
    let mailbox = member.runs();
    let observed = Observed { actor, member, mailbox: Arc::clone(&mailbox) };
    let (inner, _) = ractor::Actor::spawn_linked(None, observed, args, supervisor).await?;
    Ok(ActorRef { inner, mailbox })
}

/// Starts an actor that is all alone.
#[cfg(test)]
pub(in crate::actors) async fn spawn_alone<A: Actor>(
    actor: A,
    args: A::Arguments,
) -> ActorRef<A::Msg> {
    spawn(MemberStats::for_tests(), actor, args).await.unwrap()
}

/// Starts an actor that nobody supervises: the root.
///
/// # Errors
/// When it could not be started, and why.
pub(in crate::actors) async fn spawn<A: Actor>(
    member: Arc<MemberStats>,
    actor: A,
    args: A::Arguments,
) -> Result<ActorRef<A::Msg>, SpawnErr> {
    let mailbox = member.runs();
    let observed = Observed { actor, member, mailbox: Arc::clone(&mailbox) };
    let (inner, _) = ractor::Actor::spawn(None, observed, args).await?;
    Ok(ActorRef { inner, mailbox })
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::actors::tree::members::Members;
    use crate::clock::Clock;
    use crate::protocol::tree::member::{MemberSnapshot, MemberState};
    use crate::protocol::tree::restart::ChildKind;

    /// Handles each message when it is let.
    struct Slow;

    enum SlowMsg {
        Wait,
        Fail,
        Answer(RpcReplyPort<()>),
    }

    named!(SlowMsg: Wait, Fail, Answer);

    impl Actor for Slow {
        type Msg = SlowMsg;
        type State = Arc<Semaphore>;
        type Arguments = Arc<Semaphore>;

        async fn pre_start(
            &self,
            _myself: ActorRef<SlowMsg>,
            gate: Arc<Semaphore>,
        ) -> Result<Arc<Semaphore>, ActorProcessingErr> {
            Ok(gate)
        }

        async fn handle(
            &self,
            _myself: ActorRef<SlowMsg>,
            message: SlowMsg,
            gate: &mut Arc<Semaphore>,
        ) -> Result<(), ActorProcessingErr> {
            match message {
                SlowMsg::Wait => gate.acquire().await?.forget(),
                SlowMsg::Fail => return Err("it was told to".into()),
                SlowMsg::Answer(reply) => reply.send(())?,
            }
            Ok(())
        }
    }

    async fn until(all: &Members, holds: impl Fn(&MemberSnapshot) -> bool) -> MemberSnapshot {
        loop {
            let seen = all.of("part/slow").unwrap();
            if holds(&seen) {
                return seen;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_waits_and_what_is_handled_is_seen_and_a_new_start_begins_anew() {
        let all = Members::new(Clock::system());
        let gate = Arc::new(Semaphore::new(0));
        let member = all.add(ChildKind::Part, "slow");
        let begin = || spawn(Arc::clone(&member), Slow, Arc::clone(&gate));
        let slow = begin().await.unwrap();
        for _ in 0..3 {
            slow.cast(SlowMsg::Wait).unwrap();
        }
        let seen = until(&all, |seen| seen.last_message.is_some()).await;
        let last = seen.last_message.unwrap();
        assert_eq!((seen.mailbox, last.name, last.is_running), (2, "Wait", true));
        gate.add_permits(3);
        slow.call(SlowMsg::Answer, None).await.unwrap();
        let seen = until(&all, |seen| seen.last_message.is_some_and(|last| !last.is_running)).await;
        assert_eq!((seen.mailbox, seen.last_message.unwrap().name), (0, "Answer"));
        slow.cast(SlowMsg::Fail).unwrap();
        for _ in 0..5 {
            let _ = slow.cast(SlowMsg::Wait);
        }
        slow.wait(None).await.unwrap();
        slow.cast(SlowMsg::Wait).map_err(|_| ()).unwrap_err();
        member.failed(true);
        let seen = all.of("part/slow").unwrap();
        assert_eq!((seen.state, seen.mailbox), (MemberState::Parked, 0));
        let again = begin().await.unwrap();
        let seen = all.of("part/slow").unwrap();
        assert_eq!((seen.state, seen.restarts, seen.mailbox), (MemberState::Running, 1, 0));
        again.stop(None);
        all.remove(&member);
        assert_eq!(all.of("part/slow"), None);
    }
}
