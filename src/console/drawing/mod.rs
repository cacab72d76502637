//! The geometry of charts. Pure: instants, lengths and numbers become places, which a template writes as SVG.

pub(super) mod bar_plot;
pub(super) mod column_plot;
pub(super) mod swim_lane;
pub(super) mod time_scale;
pub(super) mod value_scale;
