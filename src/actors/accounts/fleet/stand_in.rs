//! Stands for the fleet in tests of those who ask it: hands on what they ask, and answers nothing itself.

use tokio::sync::mpsc;

use super::FleetMsg;
use crate::actors::tree::actor::{Actor, ActorProcessingErr, ActorRef, spawn_alone};

struct StandIn;

type Hear = Box<dyn FnMut(FleetMsg) + Send>;

impl Actor for StandIn {
    type Msg = FleetMsg;
    type State = Hear;
    type Arguments = Hear;

    async fn pre_start(
        &self,
        _: ActorRef<FleetMsg>,
        hear: Hear,
    ) -> Result<Hear, ActorProcessingErr> {
        Ok(hear)
    }

    async fn handle(
        &self,
        _: ActorRef<FleetMsg>,
        message: FleetMsg,
        hear: &mut Hear,
    ) -> Result<(), ActorProcessingErr> {
        hear(message);
        Ok(())
    }
}

/// The stand-in, and what `pick` takes of that which it is asked.
pub(in crate::actors) async fn stand_in<T: Send + 'static>(
    pick: fn(FleetMsg) -> Option<T>,
) -> (ActorRef<FleetMsg>, mpsc::UnboundedReceiver<T>) {
    let (tell, asked) = mpsc::unbounded_channel();
    let hear: Hear = Box::new(move |message| {
        pick(message).into_iter().for_each(|picked| drop(tell.send(picked)));
    });
    (spawn_alone(StandIn, hear).await, asked)
}
