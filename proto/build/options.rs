//! Reads options from descriptors as dynamic messages: decoding them into generated types would drop extensions.

use anyhow::{Context, Result};
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, Value};

pub(crate) const PACKAGE: &str = "holdfast.options.v1";

/// The value of an extension, if it is set.
pub(crate) fn extension(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Result<Option<Value>> {
    let descriptor = pool.get_extension_by_name(name).with_context(|| format!("no extension {name}"))?;
    Ok(options.has_extension(&descriptor).then(|| options.get_extension(&descriptor).into_owned()))
}

/// The fields that are set in a message, by name.
pub(crate) fn set_fields(message: &DynamicMessage) -> impl Iterator<Item = (String, &Value)> {
    message.fields().map(|(field, value)| (field.name().to_owned(), value))
}

pub(crate) fn message(value: &Value) -> Result<&DynamicMessage> {
    value.as_message().context("the option is not a message")
}

pub(crate) fn text(message: &DynamicMessage, field: &str) -> Result<String> {
    let value = message.get_field_by_name(field).with_context(|| format!("no field {field}"))?;
    Ok(value.as_str().context("the option is not a text")?.to_owned())
}

pub(crate) fn number(value: &Value) -> Result<i64> {
    match value {
        Value::I32(number) => Ok(i64::from(*number)),
        Value::I64(number) => Ok(*number),
        Value::U32(number) => Ok(i64::from(*number)),
        Value::U64(number) => Ok(i64::try_from(*number)?),
        Value::EnumNumber(number) => Ok(i64::from(*number)),
        other => anyhow::bail!("{other:?} is not a number"),
    }
}

/// Name of an enum value that an option's list holds.
pub(crate) fn enum_names(message: &DynamicMessage, field: &str) -> Result<Vec<String>> {
    let descriptor = message.descriptor().get_field_by_name(field).with_context(|| format!("no field {field}"))?;
    let kind = descriptor.kind();
    let values = kind.as_enum().context("not an enum")?;
    let list = message.get_field(&descriptor);
    let numbers = list.as_list().context("not a list")?;
    numbers
        .iter()
        .map(|value| {
            let number = value.as_enum_number().context("not an enum")?;
            Ok(values.get_value(number).context("unknown enum value")?.name().to_owned())
        })
        .collect()
}
