//! The API for users (`/api/v1`): parses, authorises, hands over to a [`Service`], and maps refusals.

mod service;
mod shapes;

pub use service::{
    AccountQuery, AuditQuery, Change, Outgoing, PageQuery, ParseMode, PastedSession, Phone,
    Service, WebhookOrder,
};
pub use shapes::{
    Account, AccountStatus, AuditEntry, Cap, Chat, CooldownView, DeadDelivery, Erased, KeyStatus,
    Kind, Login, LoginError, LoginState, Monitor, Page, Qr, Rights, Sent, State, Time, TimerView,
    Trouble, Webhook, WhyView,
};
