//! `help.*`: where the datacenters are.

use grammers_tl_types::{enums, functions, types};

use super::{Answer, Visit};
use crate::clock::unix_seconds;
use crate::world::blank;

/// How long a client may keep the configuration, in seconds.
const CONFIG_LIFETIME: i32 = 3600;

pub(super) fn get_config(
    visit: &mut Visit,
    _: functions::help::GetConfig,
) -> Answer<functions::help::GetConfig> {
    let option = |(id, address): (i32, std::net::SocketAddrV4)| {
        enums::DcOption::from(types::DcOption {
            ipv6: false,
            media_only: false,
            tcpo_only: false,
            cdn: false,
            // Libraries ignore options without this flag.
            r#static: true,
            this_port_only: true,
            id,
            ip_address: address.ip().to_string(),
            port: i32::from(address.port()),
            secret: None,
        })
    };
    let now = unix_seconds();
    Ok(types::Config {
        date: now,
        expires: now + CONFIG_LIFETIME,
        this_dc: visit.dc,
        dc_options: visit.world.dcs.all().map(option).collect(),
        chat_size_max: 200,
        megagroup_size_max: 200_000,
        me_url_prefix: "https://t.me/".to_owned(),
        caption_length_max: 1024,
        message_length_max: 4096,
        ..blank::CONFIG.clone()
    }
    .into())
}

pub(super) fn get_nearest_dc(
    visit: &mut Visit,
    _: functions::help::GetNearestDc,
) -> Answer<functions::help::GetNearestDc> {
    let country = "NL".to_owned();
    Ok(types::NearestDc { country, this_dc: visit.dc, nearest_dc: visit.dc }.into())
}

/// Source: <https://core.telegram.org/api/config#client-configuration>.
pub(super) fn get_app_config(
    visit: &mut Visit,
    _: functions::help::GetAppConfig,
) -> Answer<functions::help::GetAppConfig> {
    let user = visit.world.keys.get(&visit.key_id).and_then(|record| record.user);
    let Some(since) = user.and_then(|user| visit.world.user(user).frozen) else {
        return Ok(enums::help::AppConfig::NotModified);
    };
    let value = types::JsonNumber { value: f64::from(since) }.into();
    let field = types::JsonObjectValue { key: "freeze_since_date".to_owned(), value };
    let config = types::JsonObject { value: vec![field.into()] }.into();
    Ok(types::help::AppConfig { hash: 1, config }.into())
}
