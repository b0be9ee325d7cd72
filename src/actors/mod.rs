//! The supervision tree, a room a subject, one actor a file. Actors perform; what to do is decided in `protocol`. What
//! the tree is made of is one table, `protocol/tree/table.rs`; `ARCHITECTURE.md` draws it.

mod accounts;
mod bridge;
mod campaigns;
mod logins;
mod messages;
mod monitors;
mod root;
mod services;
#[cfg(test)]
mod tests;
mod tree;
mod upkeep;
mod webhooks;

pub use accounts::context::AccountSettings;
pub use accounts::directory::Directory;
pub use bridge::port::{BrokerLinks, LentOutbox, OutboxSource, TelegramsClock};
pub use campaigns::book::NewTarget;
pub use campaigns::campaign::{BULK_MAX, BulkAction, Edit, TargetEdit, Wanted};
pub use campaigns::context::CampaignSettings;
pub use monitors::commands::{CommandSink, Commands, Rejected};
pub use monitors::context::MonitorSettings;
pub use root::{BridgeParts, Part, Ports, Root, RootError, Settings};
pub use services::{
    AccountQuery, AccountService, AccountStatus, AccountWhy, AdministrationService,
    ArchivedCampaign, AuditQuery, AuditService, CampaignQuery, CampaignService, ChangeService,
    ConnectedAccount, DailyLimitUse, DetailedHealth, Erased, HealthQuery, Import, ImportGate,
    ImportOrder, ImportPermit, ImportService, ImportedPerson, KeyStatus, LoginService,
    MessageService, MonitorQuery, MonitorService, NewSuppression, PastedSession, ReportService,
    Services, SessionBrought, StoreFigures, SuppressionList, SuppressionQuery, SuppressionService,
    Suppressions, TargetQuery, TaskAction, TaskOrder, TaskOutcome, TaskSort, TroubledAccountInfo,
    TroubledMonitorInfo, TroubledPage, Undone, UserArchive, UserDataService, WebhookInfo,
    WebhookOrder, WebhookService, WriteArchive,
};
pub use tree::backlog::BacklogGate;
pub(crate) use tree::children::{said_by, watched_task, watched_thread};
pub use tree::context::Context;
pub use tree::metrics::Metrics;
pub use tree::status::{AccountView, Status, Troubled};
pub use webhooks::port::{EndpointCall, EndpointClient, IDLE_PER_HOST};
pub use webhooks::supervisor::WebhookSettings;
