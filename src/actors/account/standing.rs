//! An account that belongs to a user: kept connected, held, let go on, and connected anew.

use ractor::{ActorProcessingErr, ActorRef};

use super::{AccountActor, AccountMsg};
use crate::protocol::account::{Input, Standing};

impl AccountActor {
    /// Whether it is to be connected.
    pub(super) fn is_needed(&self) -> bool {
        match self.standing {
            Standing::OnDemand => !self.interests.is_empty(),
            Standing::Kept => true,
            // It stays where it is, so that its state is told.
            Standing::Held => true,
        }
    }

    pub(super) async fn stand(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        standing: Standing,
    ) -> Result<(), ActorProcessingErr> {
        let before = std::mem::replace(&mut self.standing, standing);
        self.linger_epoch += 1;
        match standing {
            Standing::Held => {
                self.step(myself, Input::Pause).await?;
                self.tell_held();
                Ok(())
            }
            _ if before == Standing::Held => {
                self.last_failure = None;
                self.step(myself, Input::Resume).await?;
                if !self.is_needed() {
                    self.arm_linger(myself);
                }
                Ok(())
            }
            Standing::Kept => self.step(myself, Input::Wanted).await,
            Standing::OnDemand => {
                if !self.is_needed() {
                    self.arm_linger(myself);
                }
                Ok(())
            }
        }
    }

    /// Monitors go on with another session, and callers hear that nothing will be done for them.
    fn tell_held(&mut self) {
        let paused = self.why();
        for interest in self.interests.values() {
            self.tell_down(&interest.monitor, &paused);
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
        self.forgive(myself).await?;
        // Hanging up first makes it one connection at any time, and forgets the pause of a backoff.
        self.step(myself, Input::Unwanted).await?;
        self.step(myself, Input::Wanted).await
    }
}
