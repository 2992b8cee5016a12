//! `portcullis user link` and `unlink`: says whose account at an identity provider is whose here. That is the way in for people who have
//! an account already, since an address never joins two.

use anyhow::{Context, bail};
use clap::Args;
use portcullis_audit::{Action, Event};
use portcullis_store::{Identity, StoreError, User};

use super::{Users, party, tell};
use crate::{accounts::event, cli::Output};

#[derive(Args)]
pub(crate) struct Link {
    /// The user name or e-mail address
    login: String,
    /// The name of the provider under `auth.providers`
    #[arg(long)]
    provider: String,
    /// Who the person is there: the `sub` of the provider's ID tokens, as the audit log has it of a refused sign-in
    #[arg(long)]
    subject: String,
    #[command(flatten)]
    output: Output,
}

impl Users<'_> {
    pub(super) async fn link(&self, link: &Link) -> anyhow::Result<()> {
        let (user, identity) = self.meant(link).await?;
        let event = told(Action::IdentityLinked, &user, link);
        let store = self.0.store();
        match store.link_identity(&user.id, &identity, &event).await {
            Err(StoreError::Taken) => bail!("somebody signs in by this account already"),
            outcome => outcome?,
        }
        tell("linked", &user, link.output);
        Ok(())
    }

    pub(super) async fn unlink(&self, link: &Link) -> anyhow::Result<()> {
        let (user, identity) = self.meant(link).await?;
        let event = told(Action::IdentityUnlinked, &user, link);
        let store = self.0.store();
        match store.unlink_identity(&user.id, &identity, &event).await {
            Err(StoreError::NotFound) => bail!("{} does not sign in by this account", link.login),
            outcome => outcome?,
        }
        tell("unlinked", &user, link.output);
        Ok(())
    }

    async fn meant(&self, link: &Link) -> anyhow::Result<(User, Identity)> {
        let mut providers = self.0.auth.providers.iter();
        let provider = providers
            .find(|provider| provider.name == link.provider)
            .with_context(|| format!("there is no {:?} in auth.providers", link.provider))?;
        let identity = Identity {
            issuer: provider.issuer.clone(),
            subject: link.subject.clone(),
        };
        Ok((self.0.user(&link.login).await?, identity))
    }
}

fn told(action: Action, user: &User, link: &Link) -> Event {
    let reason = format!("provider:{}", link.provider);
    event(action).on(party(user)).because(reason)
}
