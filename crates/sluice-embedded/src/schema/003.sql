-- Free slots of spaced limits before the arrival time, so that several limits are leased together.

-- Pairs of a JSON array, the earliest first: the opening of the first of some slots one spacing apart, and how many.
alter table limit_gcra add column holes text not null default '[]';

-- Counts the spacings there were: slots of different grids do not go together.
alter table limit_gcra add column grid integer not null default 0;

-- The spacing that these two are of. Where it is not `spacing_ns`, an older build has begun another grid.
alter table limit_gcra add column hole_spacing_ns integer not null default 0;
