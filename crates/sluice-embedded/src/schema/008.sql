-- An edit of a limit keeps as many slots spent as were, whatever the spacing and the burst before and after it.

-- The burst at which the arrival time was reached; 0 where that is not known.
alter table limit_gcra add column burst integer not null default 0;

-- What was spent beyond the arrival time, since it is more than a bucket of this burst holds.
alter table limit_gcra add column owed_ns integer not null default 0;
