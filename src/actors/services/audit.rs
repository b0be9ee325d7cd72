//! Reading the audit log.

use async_trait::async_trait;

use super::Shared;
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::audit::log::Entry;
use crate::protocol::users::owner::{Caller, Scope};
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::page::{Page, PageQuery};
use crate::store::AuditLogQuery;

/// Which audit entries.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Only those at this moment or later.
    pub since: Option<UnixMillis>,
    /// Only those of this actor.
    pub actor: Option<String>,
    /// Only those of this action.
    pub action: Option<String>,
    /// Which page.
    pub page: PageQuery,
}

/// The audit log.
#[async_trait]
pub trait AuditService: Send + Sync + 'static {
    /// A page of it, the newest entries first.
    async fn list(&self, who: &Caller, query: AuditQuery) -> Result<Page<Entry>, Refusal>;
}

/// The service on a tree.
pub(super) struct AuditLog {
    shared: Shared,
}

impl AuditLog {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared }
    }
}

#[async_trait]
impl AuditService for AuditLog {
    async fn list(&self, who: &Caller, query: AuditQuery) -> Result<Page<Entry>, Refusal> {
        let before = query.page.cursor.as_deref().map(|cursor| {
            cursor.parse().map_err(|_| Refusal::field("cursor", "it is none that a page gave"))
        });
        let query = AuditLogQuery {
            user: match who.scope() {
                Scope::Only(user) => Some(user),
                Scope::Everybody => None,
            },
            before: before.transpose()?,
            since: query.since,
            actor: query.actor,
            action: query.action,
            limit: query.page.limit,
        };
        let page = self.shared.reading(move |store| store.audit_log(&query)).await?;
        Ok(Page { items: page.entries, next_cursor: page.next.map(|next| next.to_string()) })
    }
}
