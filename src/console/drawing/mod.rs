//! The geometry of charts. Pure: instants and lengths become places, which a template writes as SVG.

pub(super) mod swim_lane;
pub(super) mod time_scale;
