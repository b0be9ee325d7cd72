//! What the product can be asked: one small service a subject, in the core's own requests and answers. Owns the
//! looking up of rows **in the scope of the one who asks**, and has the parts of the tree do what is asked; never a
//! wire's shapes, and decides nothing itself. Requests come in from the edges, and answers and refusals go back to
//! them.
//!
//! Every method names who asks: rows of others do not exist for them. Every method may refuse: with `NOT_FOUND`
//! for what does not exist in the caller's scope, with `INTERNAL` when the store fails, and with what its own words
//! say.

pub(super) mod accounts;
mod administration;
mod audit;
mod campaigns;
mod changes;
mod chats;
mod creations;
mod imports;
pub(super) mod logins;
mod messages;
mod monitors;
mod reports;
mod suppression;
#[cfg(test)]
mod tests;
mod user_data;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use crate::actors::tree::actor::ActorRef;

use super::accounts::fleet::FleetMsg;
use super::campaigns::context::CampaignsContext;
use super::campaigns::supervisor::CampaignsMsg;
use super::logins::context::LoginsContext;
use super::logins::registrar::LoginsMsg;
use super::messages::sender::MessageSender;
use super::monitors::commands::Commands;
use super::tree::calling::{Unanswered, broken};
use super::webhooks::port::EndpointClient;
use super::webhooks::supervisor::Hooks;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::audit::log::AuditEvent;
use crate::protocol::users::owner::{AccountId, Caller, Role, Scope, UserId};
use crate::store::{Op, Reader, StoreError};

pub use accounts::{AccountQuery, AccountService, AccountStatus, AccountWhy, DailyLimitUse};
pub use administration::{
    AdministrationService, DetailedHealth, HealthQuery, KeyStatus, StoreFigures,
    TroubledAccountInfo, TroubledMonitorInfo, TroubledPage,
};
pub use audit::{AuditQuery, AuditService};
pub use campaigns::{
    CampaignQuery, CampaignService, TargetQuery, TaskAction, TaskOrder, TaskOutcome, TaskSort,
};
pub use changes::ChangeService;
pub use imports::{
    Import, ImportGate, ImportOrder, ImportPermit, ImportService, ImportedPerson, Undone,
};
pub use logins::{ConnectedAccount, LoginService, PastedSession, SessionBrought};
pub use messages::MessageService;
pub use monitors::{MonitorQuery, MonitorService};
pub use reports::ReportService;
pub use suppression::{
    NewSuppression, SuppressionList, SuppressionQuery, SuppressionService, Suppressions,
};
pub use user_data::{ArchivedCampaign, Erased, UserArchive, UserDataService, WriteArchive};
pub use webhooks::{WebhookInfo, WebhookOrder, WebhookService};

/// How long a part of the tree may take that waits for nothing but the disk.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// The services, for whoever puts an edge in front of them. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    /// Accounts and their chats.
    pub accounts: Arc<dyn AccountService>,
    /// Connecting accounts.
    pub logins: Arc<dyn LoginService>,
    /// Sending.
    pub messages: Arc<dyn MessageService>,
    /// Campaigns.
    pub campaigns: Arc<dyn CampaignService>,
    /// How campaigns fare and would fare.
    pub reports: Arc<dyn ReportService>,
    /// Who is never contacted.
    pub suppression: Arc<dyn SuppressionService>,
    /// Imports of people into campaigns.
    pub imports: Arc<dyn ImportService>,
    /// Which chats are watched.
    pub monitors: Arc<dyn MonitorService>,
    /// Where events are delivered to.
    pub webhooks: Arc<dyn WebhookService>,
    /// The audit log.
    pub audit: Arc<dyn AuditService>,
    /// Everything of a user.
    pub user_data: Arc<dyn UserDataService>,
    /// The daemon itself, for admins.
    pub administration: Arc<dyn AdministrationService>,
    /// What changes.
    pub changes: Arc<dyn ChangeService>,
}

/// The parts of the tree that the services ask.
pub(super) struct ServiceParts {
    pub(super) context: Arc<LoginsContext>,
    pub(super) fleet: ActorRef<FleetMsg>,
    pub(super) logins: ActorRef<LoginsMsg>,
    pub(super) commands: Commands,
    pub(super) sender: Arc<MessageSender>,
    pub(super) of_campaigns: Arc<CampaignsContext>,
    pub(super) campaigns: ActorRef<CampaignsMsg>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) endpoints: Arc<dyn EndpointClient>,
}

impl Services {
    /// The services of a tree.
    pub(super) fn new(parts: ServiceParts) -> Self {
        let ServiceParts { context, fleet, logins, commands, sender, hooks, endpoints, .. } = parts;
        let (of_campaigns, campaigns) = (parts.of_campaigns, parts.campaigns);
        let shared = Shared { context, fleet };
        let accounts = accounts::Accounts::new(shared.clone());
        let logins = logins::Logins::new(shared.clone(), logins);
        let monitors = monitors::Monitors::new(shared.clone(), commands);
        let reports = reports::Reports::new(shared.clone(), Arc::clone(&of_campaigns));
        let creations = creations::Creations::new(shared.clone());
        let suppression = suppression::SuppressionLists::new(
            shared.clone(),
            Arc::clone(&of_campaigns),
            creations.clone(),
        );
        let campaigns =
            campaigns::Campaigns::new(shared.clone(), of_campaigns, campaigns, creations);
        let user_data = user_data::UserData::new(
            accounts.clone(),
            logins.clone(),
            monitors.clone(),
            campaigns.clone(),
            Arc::clone(&hooks),
        );
        Self {
            accounts: Arc::new(accounts),
            logins: Arc::new(logins),
            messages: Arc::new(messages::Messages::new(shared.clone(), sender)),
            imports: Arc::new(imports::Imports::new(shared.clone(), campaigns.clone())),
            campaigns: Arc::new(campaigns),
            reports: Arc::new(reports),
            suppression: Arc::new(suppression),
            monitors: Arc::new(monitors),
            webhooks: Arc::new(webhooks::Webhooks::new(shared.clone(), hooks, endpoints)),
            audit: Arc::new(audit::AuditLog::new(shared.clone())),
            user_data: Arc::new(user_data),
            administration: Arc::new(administration::Administration::new(shared.clone())),
            changes: Arc::new(changes::ChangeFeed::new(shared)),
        }
    }
}

/// What all services stand on.
#[derive(Clone)]
struct Shared {
    context: Arc<LoginsContext>,
    fleet: ActorRef<FleetMsg>,
}

impl Shared {
    /// The account `id`, if it exists for the one who asks.
    fn account(&self, who: &Caller, id: AccountId) -> Result<OwnedAccount, Refusal> {
        let found = self.context.directory.get(&who.scope(), id);
        found.ok_or_else(|| Refusal::not_found("account"))
    }

    /// Why a part of the tree does not answer. Where the store has failed, that is why: everything stops.
    fn unanswered(&self, why: Unanswered) -> Refusal {
        match self.context.store.failure() {
            Some(failure) => broken(&failure),
            // Nothing has crashed: its part of the tree is gone already.
            None if why == Unanswered::Dropped && self.context.is_stopping() => {
                Unanswered::Gone.into()
            }
            None => why.into(),
        }
    }

    /// Reads from the store for the one who asks.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.context.store.read(read).await.map_err(|error| broken(&error))
    }

    /// A line for the audit log about something of `owner`'s.
    fn audit_event(
        &self,
        who: &Caller,
        owner: &UserId,
        action: &str,
        target: impl ToString,
    ) -> AuditEvent {
        AuditEvent::by(who, owner, action, self.context.now()).on(target)
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<(), Refusal> {
        self.context.store.commit(ops).await.map_err(|error| broken(&error))
    }
}

/// Whose something is, for those who are told: admins, who see more than their own.
fn owner_for(who: &Caller, owner: Option<&UserId>) -> Option<UserId> {
    owner.filter(|_| who.role == Role::Admin).cloned()
}

/// What a list of `user`'s things covers for the one who asks; `None` when it holds nothing, because it
/// would be somebody else's.
fn scope_of(who: &Caller, user: Option<UserId>) -> Option<Scope> {
    match user {
        None => Some(who.scope()),
        Some(user) => who.is_or_may_see(&user).then_some(Scope::Only(user)),
    }
}
