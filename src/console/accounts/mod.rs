//! Who has access: the users of the console and their sessions, logins for SQL clients, and the switch of the tenant.

pub(super) mod reader_logins_page;
pub(super) mod tenant_switch;
pub(super) mod users_page;
