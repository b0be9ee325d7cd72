//! An account that belongs to a user: kept connected, held, let go on, and connected anew. What its state
//! machine hears of it is decided here, apart from the doing.

use crate::actors::tree::actor::{ActorProcessingErr, ActorRef};

use super::{AccountActor, AccountMsg};
use crate::protocol::accounts::connection::{Input, Standing};

/// Something that bears on whether it is to be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionReason {
    /// Its actor begins, somebody asks for it, or it is to be tried once more.
    Asked,
    /// Its standing is another than before.
    Stands { before: Standing },
    /// It is to be connected anew.
    Redialled,
    /// Telegram had ended its session, which is to be believed no longer.
    Retried,
    /// Nobody has needed it for a while.
    Lingered,
}

/// What the machine hears at a turn. What is held stays held, whoever asks; what is needed is dialled
/// from whatever state the machine is in: one that was at rest or dead when it was held is not in the
/// state that a resumption ends.
pub(super) fn inputs(turn: ConnectionReason, standing: Standing, is_needed: bool) -> Vec<Input> {
    let mut inputs = Vec::new();
    let wanted = is_needed.then_some(Input::Wanted);
    match (turn, standing) {
        (ConnectionReason::Retried, Standing::Held) => inputs.extend([Input::Retry, Input::Pause]),
        (ConnectionReason::Retried, _) => {
            inputs.push(Input::Retry);
            inputs.extend(wanted);
        }
        (ConnectionReason::Stands { .. } | ConnectionReason::Asked, Standing::Held) => {
            inputs.push(Input::Pause)
        }
        (ConnectionReason::Redialled | ConnectionReason::Lingered, Standing::Held) => {}
        (ConnectionReason::Stands { before: Standing::Held }, _) => {
            inputs.push(Input::Resume);
            inputs.extend(wanted);
        }
        // It is connected for whoever needs it already, and they are not told so again.
        (ConnectionReason::Stands { .. }, Standing::OnDemand) => {}
        (ConnectionReason::Stands { .. } | ConnectionReason::Asked, _) => inputs.extend(wanted),
        // Hanging up first makes it one connection at any time, and forgets the pause of a backoff.
        (ConnectionReason::Redialled, _) => {
            inputs.extend([Input::Retry, Input::Unwanted]);
            inputs.extend(wanted);
        }
        (ConnectionReason::Lingered, _) if !is_needed => inputs.push(Input::Unwanted),
        (ConnectionReason::Lingered, _) => {}
    }
    inputs
}

impl AccountActor {
    /// Whether it is to be connected, unless it is held.
    pub(super) fn is_needed(&self) -> bool {
        match self.standing {
            Standing::OnDemand => !self.subscriptions.is_empty(),
            Standing::Kept => true,
            // It stays where it is, so that its state is told.
            Standing::Held => true,
        }
    }

    /// Tells the machine what `turn` means for it.
    pub(super) async fn turn(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        turn: ConnectionReason,
    ) -> Result<(), ActorProcessingErr> {
        for input in inputs(turn, self.standing, self.is_needed()) {
            self.step(myself, input).await?;
        }
        Ok(())
    }

    pub(super) async fn stand(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        standing: Standing,
    ) -> Result<(), ActorProcessingErr> {
        let before = std::mem::replace(&mut self.standing, standing);
        self.linger_epoch += 1;
        if before == Standing::Held {
            self.last_failure = None;
        }
        self.turn(myself, ConnectionReason::Stands { before }).await?;
        if standing == Standing::Held {
            self.tell_held();
        } else if !self.is_needed() {
            self.arm_linger(myself);
        }
        Ok(())
    }

    /// Monitors go on with another session, and callers hear that nothing will be done for them.
    fn tell_held(&mut self) {
        let paused = self.why();
        for subscription in self.subscriptions.values() {
            self.tell_down(&subscription.monitor, &paused);
        }
        self.queue.refuse_all(&paused);
    }

    pub(super) async fn redial(
        &mut self,
        myself: &ActorRef<AccountMsg>,
    ) -> Result<(), ActorProcessingErr> {
        if self.standing == Standing::Held {
            return Ok(());
        }
        self.changed |= self.record.fault.take().is_some();
        if let Some(frozen) = &mut self.record.frozen {
            // Or it would not be dialled before the next day.
            frozen.look(self.context.now());
        }
        self.turn(myself, ConnectionReason::Redialled).await?;
        self.look_anew(myself).await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::accounts::connection::{AccountMachine, LinkState, ReconnectPolicy};
    use crate::protocol::telegram::failure::Failure;
    use crate::protocol::tree::restart::Backoff;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Stand(Standing),
        Watch,
        Unwatch,
        Linger,
        Redial,
        Retry,
        Connected,
        Lost,
        Ended,
        RetryDue,
    }

    /// An account as its actor has it, without the doing.
    struct Model {
        machine: AccountMachine,
        standing: Standing,
        is_watched: bool,
    }

    impl Model {
        fn new(standing: Standing, is_watched: bool) -> Self {
            let backoff = Backoff { min_ms: 1, max_ms: 2 };
            let policy = ReconnectPolicy { backoff, attempts_max: 2 };
            let machine = AccountMachine::new(policy, None);
            let mut model = Self { machine, standing, is_watched };
            model.turn(ConnectionReason::Asked);
            model
        }

        fn is_needed(&self) -> bool {
            self.standing != Standing::OnDemand || self.is_watched
        }

        fn is_dead(&self) -> bool {
            matches!(self.machine.link(), LinkState::Dead(_))
        }

        fn hear(&mut self, input: Input) {
            self.machine.step(input, 0.5);
        }

        fn turn(&mut self, turn: ConnectionReason) {
            for input in inputs(turn, self.standing, self.is_needed()) {
                self.hear(input);
            }
        }

        fn meet(&mut self, event: Event) {
            match event {
                Event::Stand(standing) => {
                    let before = std::mem::replace(&mut self.standing, standing);
                    self.turn(ConnectionReason::Stands { before });
                }
                Event::Watch => {
                    self.is_watched = true;
                    if !self.is_dead() && self.standing != Standing::Held {
                        self.turn(ConnectionReason::Asked);
                    }
                }
                Event::Unwatch => self.is_watched = false,
                Event::Linger => self.turn(ConnectionReason::Lingered),
                Event::Redial if self.standing == Standing::Held => {}
                Event::Redial => self.turn(ConnectionReason::Redialled),
                Event::Retry if self.is_dead() => self.turn(ConnectionReason::Retried),
                Event::Retry => {}
                Event::Connected => self.hear(Input::Connected),
                Event::Lost => self.hear(Input::Lost(Failure::transient("reset"))),
                Event::Ended => {
                    self.hear(Input::Lost(Failure::Dead { code: "SESSION_REVOKED".into() }));
                }
                Event::RetryDue => self.hear(Input::RetryDue),
            }
        }

        /// Time passes, and every dial succeeds.
        fn settle(&mut self) {
            self.turn(ConnectionReason::Lingered);
            self.hear(Input::RetryDue);
            self.hear(Input::Connected);
        }

        fn is_connected(&self) -> bool {
            *self.machine.link() == LinkState::Up
        }
    }

    fn standing() -> impl Strategy<Value = Standing> {
        prop_oneof![Just(Standing::OnDemand), Just(Standing::Kept), Just(Standing::Held)]
    }

    fn event() -> impl Strategy<Value = Event> {
        let plain = [
            Event::Watch,
            Event::Unwatch,
            Event::Linger,
            Event::Redial,
            Event::Retry,
            Event::Connected,
            Event::Lost,
            Event::Ended,
            Event::RetryDue,
        ];
        prop_oneof![standing().prop_map(Event::Stand), prop::sample::select(plain.to_vec())]
    }

    #[test]
    fn one_that_was_retried_while_it_was_held_is_connected_when_it_is_resumed() {
        let mut account = Model::new(Standing::Kept, false);
        for event in [Event::Ended, Event::Stand(Standing::Held), Event::Retry] {
            account.meet(event);
        }
        assert_eq!(*account.machine.link(), LinkState::Paused);
        account.meet(Event::Stand(Standing::Kept));
        account.settle();
        assert!(account.is_connected());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn it_ends_connected_if_it_is_wanted_and_not_held_and_only_then(
            first in standing(), is_watched in any::<bool>(),
            events in prop::collection::vec(event(), 0..40),
        ) {
            let mut account = Model::new(first, is_watched);
            for event in events {
                account.meet(event);
                let is_held = account.standing == Standing::Held;
                prop_assert!(!(is_held && account.is_connected()), "{:?}", account.machine);
            }
            let was_dead = account.is_dead();
            account.settle();
            let is_wanted = account.is_needed() && account.standing != Standing::Held;
            prop_assert_eq!(account.is_connected(), is_wanted && !was_dead, "{:?}", account.machine);
        }
    }
}
