//! Which keys differ between two configurations: their names only, never a value. Pure.

use super::{
    Auth, Bridge, CallRate, Campaign, Config, DailyCaps, EventTypes, Failover, HourlyCaps, Http,
    HttpLimits, Limits, Log, Monitoring, Parsing, Rate, Secrets, Shutdown, Store, Telegram, Vault,
    Webhooks,
};

/// Pushes the key of every field that differs. The pattern names every field of the type, so that
/// a new one cannot be forgotten.
macro_rules! compare {
    ($changed:ident, $old:expr, $new:expr, $type:ident { $($field:ident: $key:literal),+ $(,)? }
        $(, inside { $($section:ident),+ })?) => {{
        let $type { $($field: _,)+ $($($section: _,)+)? } = $old;
        $(if $old.$field != $new.$field {
            $changed.push($key);
        })+
    }};
}

/// The keys by which `new` differs from `old`, in the order of `config.toml`. A secret that is
/// given as a file counts under its own name.
pub fn changed_keys(old: &Config, new: &Config) -> Vec<&'static str> {
    let Config {
        telegram: _,
        store: _,
        secrets: _,
        bridge: _,
        failover: _,
        monitoring: _,
        http: _,
        auth: _,
        webhooks: _,
        campaign: _,
        parsing: _,
        log: _,
        shutdown: _,
        references: _,
    } = old;
    let mut changed = Vec::new();
    connections(&mut changed, old, new);
    edges(&mut changed, old, new);
    work(&mut changed, old, new);
    changed
}

fn connections(changed: &mut Vec<&'static str>, old: &Config, new: &Config) {
    compare!(
        changed,
        &old.telegram,
        &new.telegram,
        Telegram {
            api_id: "telegram.api_id",
            api_hash: "telegram.api_hash",
            server_public_key_file: "telegram.server_public_key_file",
            servers: "telegram.servers",
        },
        inside { limits }
    );
    let Limits { send: _, invite: _, resolve: _, contacts: _ } = &old.telegram.limits;
    compare!(
        changed,
        &old.telegram.limits.send,
        &new.telegram.limits.send,
        Rate {
            per_minute: "telegram.limits.send.per_minute",
            burst: "telegram.limits.send.burst",
            per_day: "telegram.limits.send.per_day",
        }
    );
    compare!(
        changed,
        &old.telegram.limits.invite,
        &new.telegram.limits.invite,
        CallRate {
            per_minute: "telegram.limits.invite.per_minute",
            burst: "telegram.limits.invite.burst",
        }
    );
    compare!(
        changed,
        &old.telegram.limits.resolve,
        &new.telegram.limits.resolve,
        CallRate {
            per_minute: "telegram.limits.resolve.per_minute",
            burst: "telegram.limits.resolve.burst",
        }
    );
    compare!(
        changed,
        &old.telegram.limits.contacts,
        &new.telegram.limits.contacts,
        CallRate {
            per_minute: "telegram.limits.contacts.per_minute",
            burst: "telegram.limits.contacts.burst",
        }
    );
    compare!(
        changed,
        &old.store,
        &new.store,
        Store {
            backend: "store.backend",
            path: "store.path",
            backlog_max_mb: "store.backlog_max_mb",
        }
    );
    compare!(
        changed,
        &old.secrets,
        &new.secrets,
        Secrets {
            credentials: "CREDENTIALS_DIRECTORY",
            key_file: "secrets.key_file",
            key: "TELEWARDEN_KEY",
            previous_key_file: "secrets.previous_key_file",
            rotate_every: "secrets.rotate_every",
        },
        inside { vault }
    );
    vault(changed, &old.secrets.vault, &new.secrets.vault);
}

fn vault(changed: &mut Vec<&'static str>, old: &Vault, new: &Vault) {
    compare!(
        changed,
        old,
        new,
        Vault {
            address: "secrets.vault.address",
            namespace: "secrets.vault.namespace",
            ca_file: "secrets.vault.ca_file",
            role_id: "secrets.vault.role_id",
            secret_id: "secrets.vault.secret_id",
            secret_id_wrapped: "secrets.vault.secret_id_wrapped",
            approle_mount: "secrets.vault.approle_mount",
            transit_mount: "secrets.vault.transit_mount",
            transit_key: "secrets.vault.transit_key",
        }
    );
}

fn edges(changed: &mut Vec<&'static str>, old: &Config, new: &Config) {
    compare!(
        changed,
        &old.bridge,
        &new.bridge,
        Bridge {
            enabled: "bridge.enabled",
            url: "bridge.url",
            exchange: "bridge.exchange",
            command_queue: "bridge.command_queue",
            event_queue: "bridge.event_queue",
            prefetch: "bridge.prefetch",
            extra_events: "bridge.extra_events",
        },
        inside { event_types }
    );
    compare!(
        changed,
        &old.bridge.event_types,
        &new.bridge.event_types,
        EventTypes {
            incoming_telegram_message: "bridge.event_types.incoming_telegram_message",
            access_lost: "bridge.event_types.access_lost",
            monitor_started: "bridge.event_types.monitor_started",
            monitor_failed_over: "bridge.event_types.monitor_failed_over",
            monitor_migrated: "bridge.event_types.monitor_migrated",
            monitor_stopped: "bridge.event_types.monitor_stopped",
        }
    );
    compare!(
        changed,
        &old.failover,
        &new.failover,
        Failover {
            retry_delay: "failover.retry_delay_seconds",
            max_reconnect_attempts: "failover.max_reconnect_attempts",
        }
    );
    compare!(
        changed,
        &old.monitoring,
        &new.monitoring,
        Monitoring {
            check_every: "monitoring.check_every",
            difference_every: "monitoring.difference_every",
        }
    );
    compare!(
        changed,
        &old.http,
        &new.http,
        Http {
            listen: "http.listen",
            cors_origins: "http.cors_origins",
            trusted_proxies: "http.trusted_proxies",
        },
        inside { limits }
    );
    compare!(
        changed,
        &old.http.limits,
        &new.http.limits,
        HttpLimits {
            connect_per_minute: "http.limits.connect_per_minute",
            send_per_minute: "http.limits.send_per_minute",
            change_per_minute: "http.limits.change_per_minute",
            change_burst: "http.limits.change_burst",
            other_per_minute: "http.limits.other_per_minute",
            unauthorized_per_minute: "http.limits.unauthorized_per_minute",
        }
    );
    compare!(changed, &old.auth, &new.auth, Auth { jwt_secret: "auth.jwt_secret" });
}

fn work(changed: &mut Vec<&'static str>, old: &Config, new: &Config) {
    compare!(
        changed,
        &old.webhooks,
        &new.webhooks,
        Webhooks {
            allow_private: "webhooks.allow_private",
            retry_first: "webhooks.retry_first",
            retry_longest: "webhooks.retry_longest",
            give_up_after: "webhooks.give_up_after",
            waiting_max: "webhooks.waiting_max",
        }
    );
    compare!(
        changed,
        &old.campaign,
        &new.campaign,
        Campaign {
            max_targets: "campaign.max_targets",
            max_running_per_user: "campaign.max_running_per_user",
            recontact_days: "campaign.recontact_days",
            is_recontact_shared: "campaign.recontact_scope",
            min_pause: "campaign.min_pause_seconds",
            max_late: "campaign.max_late",
            default_country: "campaign.default_country",
            stop_words: "campaign.stop_words",
        },
        inside { daily, hourly }
    );
    compare!(
        changed,
        &old.campaign.daily,
        &new.campaign.daily,
        DailyCaps {
            invites: "campaign.daily.invites",
            messages: "campaign.daily.messages",
            messages_with_links: "campaign.daily.messages_with_links",
            resolves: "campaign.daily.resolves",
            contacts: "campaign.daily.contacts",
        }
    );
    compare!(
        changed,
        &old.campaign.hourly,
        &new.campaign.hourly,
        HourlyCaps {
            invites: "campaign.hourly.invites",
            resolves: "campaign.hourly.resolves",
            contacts: "campaign.hourly.contacts",
        }
    );
    compare!(changed, &old.parsing, &new.parsing, Parsing { url: "parsing.url" });
    compare!(changed, &old.log, &new.log, Log { level: "log.level", format: "log.format" });
    compare!(
        changed,
        &old.shutdown,
        &new.shutdown,
        Shutdown { timeout: "shutdown.timeout_seconds" }
    );
}
