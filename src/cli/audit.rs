//! `telewarden audit verify`: follows the audit log of a store from its newest entry to its oldest, in a
//! private copy, so that a daemon may go on using the store. Needs no key; must never change a store.

use std::process::ExitCode;

use serde_json::json;

use super::{AuditVerifyArgs, note, say, say_json};
use crate::config::ConfigError;
use crate::protocol::audit::log::Hash;
use crate::store::{
    AuditLogExamined, AuditLogPosition, AuditLogReport, StoreError, examine_audit_log,
};

/// Exit code when the log was not looked at.
const NOT_LOOKED: u8 = 2;

#[derive(Debug, thiserror::Error)]
enum AuditError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error(
        "compare with --noted {0}; expected NUMBER:HASH as an earlier look printed it, such as \
         7:9f86d081… with 64 hexadecimal digits"
    )]
    Noted(String),
    #[error("look at the audit log: {0}")]
    Store(#[from] StoreError),
    #[error("look at the audit log: {0}")]
    Closed(String),
}

/// Looks and tells; 0 when the log is whole, 1 when something is wrong with it, 2 when there was no look.
pub fn audit_verify(args: &AuditVerifyArgs) -> ExitCode {
    let report = match look(args) {
        Ok(report) => report,
        Err(error) => {
            note(format_args!("telewarden: failed to {error}"));
            return ExitCode::from(NOT_LOOKED);
        }
    };
    if args.json {
        say_json(&as_json(&report));
    } else {
        as_text(&report).into_iter().for_each(say);
    }
    if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn look(args: &AuditVerifyArgs) -> Result<AuditLogReport, AuditError> {
    let noted = args.noted.as_deref();
    let noted = noted.map(|text| mark(text).ok_or_else(|| AuditError::Noted(text.to_owned())));
    let noted = noted.transpose()?;
    let config = args.config.load()?;
    let empty = AuditLogPosition::default();
    match examine_audit_log(&config.store.path, noted)? {
        AuditLogExamined::Followed(report) => Ok(report),
        AuditLogExamined::Closed(why) => Err(AuditError::Closed(why)),
        AuditLogExamined::New => Ok(AuditLogReport {
            entries: 0,
            pseudonymised: 0,
            trimmed: empty,
            head: empty,
            faults: noted
                .map(|noted| {
                    format!("entry {} was noted and is gone: the store is empty", noted.number)
                })
                .into_iter()
                .collect(),
        }),
    }
}

/// `NUMBER:HASH`, as [`shown`] writes it.
fn mark(text: &str) -> Option<AuditLogPosition> {
    let (number, digits) = text.trim().split_once(':')?;
    let mut hash = Hash::default();
    if digits.len() != 2 * hash.len() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(AuditLogPosition { number: number.parse().ok()?, hash })
}

fn hexadecimal(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shown(mark: &AuditLogPosition) -> String {
    format!("{}:{}", mark.number, hexadecimal(&mark.hash))
}

fn as_text(report: &AuditLogReport) -> Vec<String> {
    let AuditLogReport { entries, pseudonymised, trimmed, head, faults } = report;
    let mut lines =
        vec![format!("entries        {entries}, {pseudonymised} of them pseudonymised")];
    if trimmed.number > 0 {
        lines.push(format!("let go by age  up to number {}", trimmed.number));
    }
    lines.push(match head.number {
        0 => "head           none yet".to_owned(),
        _ => format!("head           {}", shown(head)),
    });
    lines.extend(faults.iter().map(|fault| format!("FAULT          {fault}")));
    lines.push(match faults.len() {
        0 => "whole. Note the head elsewhere: --noted compares with it later".to_owned(),
        1 => "NOT whole: 1 fault".to_owned(),
        count => format!("NOT whole: {count} faults"),
    });
    lines
}

fn as_json(report: &AuditLogReport) -> serde_json::Value {
    let mark =
        |mark: &AuditLogPosition| json!({ "number": mark.number, "hash": hexadecimal(&mark.hash) });
    json!({
        "whole": report.faults.is_empty(),
        "entries": report.entries,
        "pseudonymised": report.pseudonymised,
        "trimmed": mark(&report.trimmed),
        "head": mark(&report.head),
        "faults": report.faults,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::cli::ConfigArgs;
    use crate::protocol::audit::log::AuditEvent;
    use crate::protocol::users::owner::UserId;
    use crate::protocol::values::ids::UnixMillis;
    use crate::store::{Op, Store, StoreOptions};

    fn args(state: &Path, noted: Option<String>) -> AuditVerifyArgs {
        let state = Some(state.display().to_string());
        AuditVerifyArgs {
            noted,
            json: false,
            config: ConfigArgs { state, ..ConfigArgs::default() },
        }
    }

    fn audit_event() -> Op {
        let user = || UserId::new("somebody").unwrap();
        let (action, outcome) = ("account.pause".to_owned(), "ok".to_owned());
        let (actor, owner, target, address, details) = (user(), user(), None, None, None);
        Op::Audit(AuditEvent {
            at: UnixMillis(7),
            actor,
            owner,
            action,
            target,
            address,
            outcome,
            details,
        })
    }

    #[tokio::test]
    async fn the_head_is_told_in_a_form_that_a_later_look_takes() {
        let state = tempfile::tempdir().unwrap();
        let missing = look(&args(state.path(), None)).unwrap_err().to_string();
        assert!(missing.contains("there is no store in"), "{missing}");
        let (store, _outbox) = Store::open(StoreOptions::new(state.path())).unwrap();
        store.commit(vec![audit_event(), audit_event()]).await.unwrap();
        store.close().await.unwrap();
        let report = look(&args(state.path(), None)).unwrap();
        assert_eq!((report.entries, report.head.number), (2, 2));
        let lines = as_text(&report);
        let head = lines.iter().find_map(|line| line.strip_prefix("head           ")).unwrap();
        let again = look(&args(state.path(), Some(head.to_owned()))).unwrap();
        assert_eq!(again.faults, Vec::<String>::new());
        assert_eq!(as_json(&again)["head"]["number"], 2);
        let later = format!("3{}", head.strip_prefix('2').unwrap());
        let cut = look(&args(state.path(), Some(later))).unwrap();
        assert!(cut.faults[0].contains("entry 3 was noted and is gone"), "{cut:?}");
        assert!(as_text(&cut).last().unwrap().contains("NOT whole: 1 fault"));
        assert_eq!(as_json(&cut)["whole"], false);
    }

    #[test]
    fn a_store_that_cannot_be_looked_at_is_told_apart_from_a_broken_log() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        std::fs::write(&file, "no folder").unwrap();
        std::fs::create_dir(folder.path().join("newer")).unwrap();
        std::fs::write(folder.path().join("newer/format"), "telewarden store, format 99\n")
            .unwrap();
        let error = look(&args(&folder.path().join("newer"), None)).unwrap_err().to_string();
        assert!(error.contains("99"), "{error}");
        let error = look(&args(folder.path(), Some("7:abc".to_owned()))).unwrap_err().to_string();
        assert!(error.contains("--noted 7:abc"), "{error}");
    }

    proptest! {
        #[test]
        fn every_mark_comes_back(number: u64, hash: [u8; 32]) {
            let noted = AuditLogPosition { number, hash };
            prop_assert_eq!(mark(&shown(&noted)), Some(noted));
        }
    }

    #[test]
    fn what_is_no_mark_is_not_taken_for_one() {
        let digits = "a".repeat(64);
        assert!(mark(&format!("7:{digits}")).is_some());
        let signs = "+a".repeat(32);
        for text in
            ["", "7", ":", &format!(":{digits}"), &format!("7:{signs}"), &format!("-1:{digits}")]
        {
            assert_eq!(mark(text), None, "{text}");
        }
        assert_eq!(mark(&format!("7:{}", &digits[1..])), None);
    }
}
