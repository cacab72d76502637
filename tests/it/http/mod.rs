//! The HTTP server and what all resources share: credentials, bodies, limits.

mod connections;
mod credentials_first;
mod storable_texts;

use crate::repository::source;

/// The resources of `/v1` as documented: method and path, with an id in the place of each parameter.
fn documented_resources() -> Vec<(String, String)> {
    let markdown = source::text("docs/http.md");
    let mut resources = Vec::new();
    for row in markdown.lines().filter(|line| line.starts_with("| `")) {
        let mut quoted = row.split('`').skip(1).step_by(2);
        let methods: Vec<&str> =
            quoted.by_ref().take_while(|text| !text.starts_with('/')).collect();
        let path = row.split('`').find(|text| text.starts_with("/v1/"));
        for (method, path) in methods.iter().filter_map(|method| Some((*method, path?))) {
            let id = "5b3c1f6e-6d0a-4c86-8a34-0d7cf2f2f6a1";
            let path = path.replace("{id}", id).replace("{call}", id).replace("{version}", "1");
            resources.push((method.to_owned(), path));
        }
    }
    resources
}
