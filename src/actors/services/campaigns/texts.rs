//! What people are written, before they are: as one of them would get it, and as a trial to the account itself.

use super::{CampaignService, Campaigns};
use crate::actors::campaigns::platform::Deputy;
use crate::protocol::answers::campaign::{Preview, PreviewText};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::campaigns::answers::Answer;
use crate::protocol::campaigns::target::{Step, Target, TargetId};
use crate::protocol::campaigns::task::{Task, TaskId};
use crate::protocol::campaigns::text::{Rendered, Template};
use crate::protocol::users::owner::{AccountId, Caller, Scope};
use crate::store::Op;

impl Campaigns {
    /// The text as one of its people would get it.
    pub(super) async fn preview_for(
        &self,
        who: &Caller,
        id: TaskId,
        target: TargetId,
    ) -> Result<Preview, Refusal> {
        let (task, _) = self.find(who, id).await?;
        let found = self.target(who, id, target).await?;
        let text = text_of(&task, &found);
        let text = text.map(|Rendered { source, has_link, .. }| PreviewText { source, has_link });
        Ok(Preview { target, text })
    }

    /// Sends that text from one of its accounts to the account's own saved messages.
    pub(super) async fn send_trial(
        &self,
        who: &Caller,
        id: TaskId,
        account: AccountId,
        target: TargetId,
    ) -> Result<(), Refusal> {
        let (task, _) = self.find(who, id).await?;
        let found = self.target(who, id, target).await?;
        let text = text_of(&task, &found);
        let text = text.map_err(|why| Refusal::new(Code::Conflict, why))?;
        let scope = Scope::Only(task.user.clone());
        let account = self.context.directory.get(&scope, account);
        let account = account.ok_or_else(|| Refusal::not_found("account"))?;
        let _busy = self.context.erasing.enter(&task.user)?;
        let by = Deputy { account, task: id };
        let reserved = self.context.platform.reserve(&by, Step::Send).await;
        let reserved = reserved.map_err(|_| {
            let detail = "the account has sent as many messages as it may now";
            Refusal::new(Code::RateLimited, detail).after(60)
        })?;
        let (counted, give_back) = reserved.spend();
        let audit = self.shared.audit_event(who, &task.user, "campaign.test", id);
        self.shared.commit(counted.into_iter().chain([Op::Audit(audit)]).collect()).await?;
        let random_id = self.context.chance.any();
        let told = self.context.platform.send_to_self(&by, &text, random_id).await;
        match told.code {
            None => Ok(()),
            Some(code) => {
                if told.answer == Answer::NotBegun {
                    give_back();
                }
                let detail =
                    format!("the text was not sent to the account's own messages ({code})");
                Err(Refusal::new(Code::TelegramUnavailable, detail).after(5))
            }
        }
    }
}

/// What somebody would be written, or why nothing.
fn text_of(task: &Task, target: &Target) -> Result<Rendered, String> {
    let Some(text) = &task.message_template else {
        return Err("the task writes to nobody: it invites".to_owned());
    };
    let template = Template::parse(text, None).map_err(|error| error.to_string())?;
    let shown = target.identifier.to_string();
    let rendered = template.render(&target.values(&shown)).map_err(|error| error.to_string())?;
    match &task.settings.opt_out_line {
        Some(line) => rendered.with_line(line).map_err(|error| error.to_string()),
        None => Ok(rendered),
    }
}
