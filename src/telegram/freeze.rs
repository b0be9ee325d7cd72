//! Whether Telegram has frozen the account: it says so in the configuration that it keeps for apps
//! (<https://core.telegram.org/api/config#freeze-since-date>).

use grammers_client::tl;
use grammers_client::tl::enums::{JsonobjectValue, Jsonvalue, help::AppConfig};

use super::link::RawCaller;
use crate::protocol::telegram::failure::Failure;

/// The field that says since when; missing or 0 when it is not frozen.
const SINCE: &str = "freeze_since_date";

pub(super) async fn is_frozen(caller: &RawCaller) -> Result<bool, Failure> {
    let answer = caller.call(&tl::functions::help::GetAppConfig { hash: 0 }).await?;
    match answer {
        AppConfig::Config(config) => Ok(says_so(&config.config)),
        // Nobody has told us one that could be the same still.
        AppConfig::NotModified => Ok(false),
    }
}

fn says_so(config: &Jsonvalue) -> bool {
    let Jsonvalue::JsonObject(object) = config else { return false };
    object.value.iter().any(|JsonobjectValue::JsonObjectValue(field)| {
        field.key == SINCE
            && matches!(&field.value, Jsonvalue::JsonNumber(since) if since.value > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use grammers_client::tl::types;

    use super::*;

    fn config(fields: &[(&str, f64)]) -> Jsonvalue {
        let number = |value| Jsonvalue::JsonNumber(types::JsonNumber { value });
        let field = |(key, value): &(&str, f64)| {
            let (key, value) = ((*key).to_owned(), number(*value));
            JsonobjectValue::JsonObjectValue(types::JsonObjectValue { key, value })
        };
        let value = fields.iter().map(field).collect();
        Jsonvalue::JsonObject(types::JsonObject { value })
    }

    #[test]
    fn a_date_says_that_it_is_frozen_and_none_or_nought_that_it_is_not() {
        assert!(says_so(&config(&[("test", 1.0), ("freeze_since_date", 1_800_000_000.0)])));
        assert!(!says_so(&config(&[("freeze_since_date", 0.0)])));
        assert!(!says_so(&config(&[("test", 1.0)])));
        assert!(!says_so(&Jsonvalue::JsonNull));
    }
}
