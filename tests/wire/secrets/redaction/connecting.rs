//! Every way to connect an account, with every mistake on the way.

use serde_json::json;
use telewarden_simulator::{Account, NewAccount};

use super::*;
use crate::support::eventually;

impl Life {
    /// By code and password, with every mistake on the way.
    pub(super) async fn log_in_by_code(&mut self) -> String {
        let stranger = self.stranger(Some(PASSWORD)).await;
        let connect = "/accounts/telegram/connect/sms";
        let login = self.post(connect, json!({ "phone": stranger.phone }), 202).await;
        let login = format!("/logins/{}", login["login_id"].as_str().unwrap());
        let code = self.harness.sim.login_code(stranger.user_id).await.unwrap();
        self.known.text("a login code", &code);
        let wrong = if code == "90817" { "90818" } else { "90817" };
        self.known.text("a wrong login code", wrong);
        self.sweep("while a code is awaited").await;
        let refused = self.post(&format!("{login}/code"), json!({ "code": wrong }), 422).await;
        assert_eq!(refused["code"], "TG_CODE_INVALID");
        self.post(&format!("{login}/code"), json!({ "code": "not digits" }), 422).await;
        let step = self.post(&format!("{login}/code"), json!({ "code": code }), 200).await;
        assert_eq!(step["state"], "password_required");
        self.sweep("while a password is awaited").await;
        let password = format!("{login}/password");
        let refused = self.post(&password, json!({ "password": WRONG_PASSWORD }), 422).await;
        assert_eq!(refused["code"], "TG_PASSWORD_INVALID");
        let step = self.post(&password, json!({ "password": PASSWORD }), 200).await;
        self.harness.expect(self.ask("GET", &login), 200).await;
        step["account"]["id"].as_str().unwrap().to_owned()
    }

    /// With a code that is sent once more, and one by mail for a forgotten password, with mistakes on the way.
    pub(super) async fn log_in_by_mail(&mut self) {
        let stranger = self.stranger(Some(PASSWORD)).await;
        let email = "swordfish.owner@mail.example";
        self.harness.sim.set_recovery_email(stranger.user_id, Some(email.into())).await.unwrap();
        self.known.text("a recovery mail", email);
        let connect = "/accounts/telegram/connect/sms";
        let login = self.post(connect, json!({ "phone": stranger.phone }), 202).await;
        let login = format!("/logins/{}", login["login_id"].as_str().unwrap());
        self.post(&format!("{login}/resend"), json!({}), 409).await;
        let code = self.harness.sim.login_code(stranger.user_id).await.unwrap();
        self.known.text("a login code", &code);
        self.post(&format!("{login}/code"), json!({ "code": code }), 200).await;
        let asked = self.post(&format!("{login}/recovery"), json!({}), 200).await;
        assert_eq!(asked["email_pattern"], "s***r@mail.example");
        let code = self.harness.sim.mailed_code(stranger.user_id).await.unwrap().code;
        self.known.text("a recovery code", &code);
        self.sweep("while a code from the mail is awaited").await;
        let recovery = format!("{login}/recovery/code");
        let wrong = if code == "908171" { "908172" } else { "908171" };
        self.known.text("a wrong recovery code", wrong);
        let refused = self.post(&recovery, json!({ "code": wrong }), 422).await;
        assert_eq!(refused["code"], "TG_CODE_INVALID");
        self.post(&recovery, json!({ "code": "not digits" }), 422).await;
        let done = self.post(&recovery, json!({ "code": code }), 200).await;
        assert_eq!(done["state"], "active");
        let account = done["account"]["id"].as_str().unwrap();
        self.harness
            .expect(self.ask("DELETE", &format!("/accounts/{account}?logout=true")), 204)
            .await;
    }

    /// Logins that come to nothing: given up, of nobody's phone, of no phone.
    pub(super) async fn log_in_in_vain(&mut self) {
        let connect = "/accounts/telegram/connect/sms";
        let stranger = self.stranger(None).await;
        let login = self.post(connect, json!({ "phone": stranger.phone }), 202).await;
        let login = format!("/logins/{}", login["login_id"].as_str().unwrap());
        let code = self.harness.sim.login_code(stranger.user_id).await.unwrap();
        self.known.text("a login code", &code);
        self.sweep("while another code is awaited").await;
        self.harness.expect(self.ask("DELETE", &login), 204).await;
        let banned = self.stranger(None).await;
        self.fault(banned.user_id, "auth.sendCode", Some("PHONE_NUMBER_BANNED"), None).await;
        self.post(connect, json!({ "phone": banned.phone }), 422).await;
        self.known.text("a phone number", "491711234509");
        self.post(connect, json!({ "phone": "+49 171 1234509 ext" }), 422).await;
        self.post(connect, json!({ "phone": 491_711_234_509_u64 }), 422).await;
        let path = format!("{connect}?phone=491711234509");
        self.post(&path, json!({}), 422).await;
    }

    /// By a picture. Its text is for the one who asked, and for nobody else.
    pub(super) async fn log_in_by_picture(&mut self) -> String {
        let stranger = self.stranger(None).await;
        let login = self.post("/accounts/telegram/connect/qr", json!({}), 202).await;
        let url = login["qr"]["url"].as_str().unwrap().to_owned();
        let login = format!("/logins/{}", login["login_id"].as_str().unwrap());
        self.harness.sim.scan_qr(stranger.user_id, &url).await.unwrap();
        let account = eventually("the picture was scanned", async || {
            let login = self.harness.ask(self.ask("GET", &login)).await.body;
            login["account"]["id"].as_str().map(str::to_owned)
        })
        .await;
        self.harness.door.heard().retain(|heard| !heard.text.contains("tg://login?token="));
        self.known.text("a QR code's token", url.rsplit('=').next().unwrap());
        self.pictures.push(url);
        self.sweep("after a picture was scanned").await;
        account
    }

    pub(super) async fn connect_bot(&mut self) -> String {
        let new = NewAccount { bot: true, logged_in: false, ..NewAccount::default() };
        let bot = self.harness.sim.add_account(new).await.unwrap();
        let token = bot.bot_token.unwrap();
        self.known.text("a bot token", &token);
        self.known.text("a bot token's secret", token.split(':').next_back().unwrap());
        let connect = "/accounts/telegram/connect/bot";
        let refused = self.post(connect, json!({ "token": WRONG_BOT }), 422).await;
        assert_eq!(refused["code"], "TG_BOT_TOKEN_INVALID");
        self.post(connect, json!({ "token": format!("{token} ") }), 422).await;
        let account = self.post(connect, json!({ "token": token }), 201).await;
        account["id"].as_str().unwrap().to_owned()
    }

    pub(super) async fn paste_session(&mut self, username: &str) -> (String, Account) {
        let person = self.harness.named(username).await;
        self.phone(&person);
        let session = person.session_string.clone().unwrap();
        self.known.text("a session string", &session[1..]);
        let connect = "/accounts/telegram/connect/session";
        for broken in [session[..300].to_owned(), format!("{session}AAAA"), format!("2{session}")] {
            self.post(connect, json!({ "session_string": broken }), 422).await;
        }
        self.post(connect, json!({ "session_string": [session] }), 422).await;
        let body = json!({ "session_string": session, "api_id": 12345, "api_hash": API_HASH });
        let account = self.post(connect, body, 201).await;
        let id = account["id"].as_str().unwrap().to_owned();
        self.harness.until_state(&self.harness.holder(&self.alice), &id, "active").await;
        (id, person)
    }
}
