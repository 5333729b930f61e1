-- Old jobs and old ids of events are found by a btree. The ranges of a BRIN are never narrowed by deletes: once new rows take the
-- place of those that have aged out, every page counts as old and is read with every statement of housekeeping. Neither column
-- ever changes, so that updates of a job stay on the page (HOT) as before, and new rows go to the index's last page.
-- Jobs cannot be claimed while this builds the index.

drop index sluice.job_created_at;
create index job_created_at on sluice.job (created_at);

drop index sluice.event_id_received_at;
create index event_id_received_at on sluice.event_id (received_at);
