//! The bodies of OAuth's endpoints: forms, in which each parameter stands once (RFC 6749 section 3.2).

use std::collections::BTreeMap;

use axum::{body::Body, http::Request};
use zeroize::Zeroizing;

use crate::request;

/// The parameters by their names. One without a value counts as absent.
pub(crate) struct Form(BTreeMap<String, Zeroizing<String>>);

/// The body is no form, or says something twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoForm {
    Malformed,
    Repeated,
}

impl Form {
    /// The body was taken off the connection, and bounded, before.
    pub(crate) async fn read(request: Request<Body>) -> Result<Self, NoForm> {
        let bytes = request::bytes(request, "application/x-www-form-urlencoded")
            .await
            .map_err(|_refusal| NoForm::Malformed)?;
        Self::parse(&bytes)
    }

    /// Also of a query, which is written the same way.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, NoForm> {
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            // Where the bytes are no UTF-8 the replacement would make two texts one.
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return Err(NoForm::Malformed);
            }
            let value = Zeroizing::new(value.into_owned());
            if parameters.insert(name.into_owned(), value).is_some() {
                return Err(NoForm::Repeated);
            }
        }
        parameters.retain(|_, value| !value.is_empty());
        Ok(Self(parameters))
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_stands_once_and_an_empty_one_is_absent() {
        let form = Form::parse(b"grant_type=client_credentials&scope=a+b%20c&resource=").unwrap();
        assert_eq!(form.value("scope"), Some("a b c"));
        assert_eq!((form.value("resource"), form.value("x")), (None, None));
        assert_eq!(Form::parse(b"a=1&a=1").err(), Some(NoForm::Repeated));
        assert_eq!(Form::parse(b"a=1&%61=").err(), Some(NoForm::Repeated));
        assert_eq!(Form::parse(b"a=%ff").err(), Some(NoForm::Malformed));
    }
}
