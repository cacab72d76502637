//! What a user may do, by the claims of the provider and the settings.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::config::{ClaimedRole, ConsoleRole, OidcSettings};
use crate::http::api_role::ApiRole;
use onrecord_evidence::event::ids::Tenant;

/// The member by which Entra ID says that a token leaves claims out, such as more than 200 groups.
const LEFT_OUT: &str = "_claim_names";

/// Why a user may do nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoGrant {
    /// No value of the claim gives a role. The tenants are those of the user.
    NoRole(Vec<Tenant>),
    /// The user has a role, and no tenant.
    NoTenant,
    /// The provider left the claim out, because it has too many values.
    TooManyValues(Vec<Tenant>),
}

/// The role of a user in each of the tenants; of several the strongest.
pub(super) fn grants_of(
    settings: &OidcSettings,
    claims: &Map<String, Value>,
) -> Result<Vec<(Tenant, ApiRole)>, NoGrant> {
    let tenants = tenants_of(settings, claims);
    let roles = roles_of(settings, claims);
    if roles.is_empty() {
        return Err(match is_left_out(claims, &settings.role_claim) {
            true => NoGrant::TooManyValues(tenants),
            false => NoGrant::NoRole(tenants),
        });
    }
    let mut grants: BTreeMap<Tenant, ConsoleRole> = BTreeMap::new();
    for ClaimedRole { tenant, role } in roles {
        let tenants = tenant.map_or_else(|| tenants.clone(), |tenant| vec![tenant]);
        for tenant in tenants {
            let strongest = grants.entry(tenant).or_insert(role);
            *strongest = role.max(*strongest);
        }
    }
    if grants.is_empty() {
        return Err(NoGrant::NoTenant);
    }
    Ok(grants.into_iter().map(|(tenant, role)| (tenant, role.into())).collect())
}

/// The roles that the claim gives. A value that stands for none gives none.
fn roles_of(settings: &OidcSettings, claims: &Map<String, Value>) -> Vec<ClaimedRole> {
    let values = values_of(claims, &settings.role_claim);
    let role = |value: &str| match settings.roles.is_empty() {
        true => ClaimedRole::parse(value),
        false => settings.roles.get(value).cloned(),
    };
    values.into_iter().filter_map(role).collect()
}

/// The tenants of a user. A value that stands for none gives none.
fn tenants_of(settings: &OidcSettings, claims: &Map<String, Value>) -> Vec<Tenant> {
    let values = match settings.tenant_claim.as_str() {
        "" => Vec::new(),
        claim => values_of(claims, claim),
    };
    if values.is_empty() {
        return settings.tenant.iter().cloned().collect();
    }
    let tenant = |value: &str| match settings.tenants.is_empty() {
        true => Tenant::parse(value).ok(),
        false => settings.tenants.get(value).cloned(),
    };
    values.into_iter().filter_map(tenant).collect()
}

/// Whether the claims have a value at this name, or by its dots within objects.
pub(super) fn has_claim(claims: &Map<String, Value>, name: &str) -> bool {
    claim_of(claims, name).is_some() || is_left_out(claims, name)
}

fn is_left_out(claims: &Map<String, Value>, name: &str) -> bool {
    claims.get(LEFT_OUT).is_some_and(|left_out| left_out.get(name).is_some())
}

fn claim_of<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    // A name may have dots itself: `https://contoso.com/roles`.
    claims.get(name).or_else(|| {
        let mut parts = name.split('.');
        let first = claims.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    })
}

/// The texts of a claim: one, or those of a list.
fn values_of<'c>(claims: &'c Map<String, Value>, name: &str) -> Vec<&'c str> {
    match claim_of(claims, name) {
        Some(Value::String(text)) => vec![text],
        // What is no text is no value.
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Settings;

    fn settings(more: &str) -> OidcSettings {
        let toml = format!(
            "[console.oidc]\nissuer = \"https://login.example\"\nclient_id = \"c\"\nbase_url = \"https://onrecord.example\"\n{more}"
        );
        Settings::from_toml(&toml).unwrap().console.oidc
    }

    fn granted(settings: &OidcSettings, claims: Value) -> Result<Vec<String>, NoGrant> {
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        let grants = grants_of(settings, &claims)?;
        let text =
            |(tenant, role): (Tenant, ApiRole)| format!("{}/{}", tenant.as_str(), role.as_str());
        Ok(grants.into_iter().map(text).collect())
    }

    fn tenant(name: &str) -> Tenant {
        Tenant::parse(name).unwrap()
    }

    #[test]
    fn app_roles_give_the_role_in_the_tenant_of_the_settings_and_the_strongest_counts() {
        let settings = settings("tenant = \"contoso\"");
        for (roles, role) in [
            (json!(["analyst"]), "contoso/analyst"),
            (json!("auditor"), "contoso/auditor"),
            (json!(["analyst", "admin", "auditor", "unknown", 7]), "contoso/admin"),
        ] {
            assert_eq!(granted(&settings, json!({ "roles": roles })).unwrap(), [role]);
        }
        let with_another = json!({ "roles": ["analyst", "fabrikam/auditor"] });
        assert_eq!(
            granted(&settings, with_another).unwrap(),
            ["contoso/analyst", "fabrikam/auditor"]
        );
    }

    #[test]
    fn groups_are_mapped_and_only_those_that_are_named_count() {
        let settings = settings(
            "role_claim = \"groups\"\ntenant_claim = \"org.ids\"\n[console.oidc.roles]\n\"g1\" = \"auditor\"\n\"g2\" = \"fabrikam/admin\"\n[console.oidc.tenants]\n\"o1\" = \"contoso\"\n\"o2\" = \"northwind\"",
        );
        let claims =
            json!({ "groups": ["g1", "g9", "admin"], "org": { "ids": ["o1", "o2", "contoso2"] } });
        assert_eq!(granted(&settings, claims).unwrap(), ["contoso/auditor", "northwind/auditor"]);
        let claims = json!({ "groups": ["g2"] });
        assert_eq!(granted(&settings, claims).unwrap(), ["fabrikam/admin"]);
        assert_eq!(granted(&settings, json!({ "groups": ["g1"] })), Err(NoGrant::NoTenant));
        let nothing = json!({ "groups": ["admin"], "org": { "ids": "o1" } });
        assert_eq!(granted(&settings, nothing), Err(NoGrant::NoRole(vec![tenant("contoso")])));
    }

    #[test]
    fn groups_that_entra_id_leaves_out_are_no_missing_groups() {
        let settings = settings("role_claim = \"groups\"\ntenant = \"contoso\"");
        let claims = json!({ "_claim_names": { "groups": "src1" }, "_claim_sources": {} });
        assert_eq!(
            granted(&settings, claims),
            Err(NoGrant::TooManyValues(vec![tenant("contoso")]))
        );
        assert_eq!(granted(&settings, json!({})), Err(NoGrant::NoRole(vec![tenant("contoso")])));
    }

    #[test]
    fn a_claim_is_found_by_its_whole_name_or_within_objects() {
        let settings = settings("role_claim = \"https://contoso.com/roles\"\ntenant = \"contoso\"");
        let claims = json!({ "https://contoso.com/roles": ["auditor"] });
        assert_eq!(granted(&settings, claims).unwrap(), ["contoso/auditor"]);
        let settings = self::settings("role_claim = \"realm_access.roles\"\ntenant = \"contoso\"");
        let claims = json!({ "realm_access": { "roles": ["auditor", "offline_access"] } });
        assert_eq!(granted(&settings, claims).unwrap(), ["contoso/auditor"]);
        for nothing in [json!({ "realm_access": ["auditor"] }), json!({ "realm_access": null })] {
            assert!(granted(&settings, nothing).is_err());
        }
    }
}
