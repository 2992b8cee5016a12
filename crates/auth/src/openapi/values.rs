//! How values look on the wire whose types have a form of their own inside.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr, Type,
        schema::{KnownFormat, Schema, SchemaFormat},
    },
};

use crate::password::{MAX_PASSWORD_BYTES, Password};

impl PartialSchema for Password {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)))
            .description(Some(
                "Taken as a whole; what two keyboards make of a character is the same.",
            ))
            .min_length(Some(1))
            .max_length(Some(MAX_PASSWORD_BYTES))
            .into()
    }
}

impl ToSchema for Password {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Password")
    }
}
