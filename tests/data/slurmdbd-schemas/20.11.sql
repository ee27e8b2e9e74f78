-- Tables of slurmdbd 20.11 (slurm-20-11-9-1), by derive.py

CREATE TABLE `acct_coord_table` (
  `creation_time` bigint unsigned not null,
  `mod_time` bigint unsigned default 0 not null,
  `deleted` tinyint default 0,
  `acct` tinytext not null,
  `user` tinytext not null,
  primary key (acct(42), user(42)),
  key user (user(42))
);

CREATE TABLE `acct_table` (
  `creation_time` bigint unsigned not null,
  `mod_time` bigint unsigned default 0 not null,
  `deleted` tinyint default 0,
  `name` tinytext not null,
  `description` text not null,
  `organization` text not null,
  primary key (name(42))
);

CREATE TABLE `@c@_assoc_table` (
  `creation_time` bigint unsigned not null,
  `mod_time` bigint unsigned default 0 not null,
  `deleted` tinyint default 0 not null,
  `is_def` tinyint default 0 not null,
  `id_assoc` int unsigned not null auto_increment,
  `user` tinytext not null default '',
  `acct` tinytext not null,
  `partition` tinytext not null default '',
  `parent_acct` tinytext not null default '',
  `lft` int not null,
  `rgt` int not null,
  `shares` int default 1 not null,
  `max_jobs` int default NULL,
  `max_jobs_accrue` int default NULL,
  `min_prio_thresh` int default NULL,
  `max_submit_jobs` int default NULL,
  `max_tres_pj` text not null default '',
  `max_tres_pn` text not null default '',
  `max_tres_mins_pj` text not null default '',
  `max_tres_run_mins` text not null default '',
  `max_wall_pj` int default NULL,
  `grp_jobs` int default NULL,
  `grp_jobs_accrue` int default NULL,
  `grp_submit_jobs` int default NULL,
  `grp_tres` text not null default '',
  `grp_tres_mins` text not null default '',
  `grp_tres_run_mins` text not null default '',
  `grp_wall` int default NULL,
  `priority` int unsigned default NULL,
  `def_qos_id` int default NULL,
  `qos` blob not null default '',
  `delta_qos` blob not null default '',
  primary key (id_assoc),
  unique index udex (user(42), acct(42), `partition`(42)),
  key lft (lft),
  key account (acct(42))
);

CREATE TABLE `@c@_assoc_usage_day_table` (
  `creation_time` bigint unsigned not null,
  `mod_time` bigint unsigned default 0 not null,
  `deleted` tinyint default 0 not null,
  `id` int unsigned not null,
  `id_tres` int default 1 not null,
  `time_start` bigint unsigned not null,
  `alloc_secs` bigint unsigned default 0 not null,
  primary key (id, id_tres, time_start)
);

CREATE TABLE `@c@_assoc_usage_hour_table` (
  `creation_time` bigint unsigned not null,
  `mod_time` bigint unsigned default 0 not null,
  `deleted` tinyint default 0 not null,
  `id` int unsigned not null,
  `id_tres` int default 1 not null,
  `time_start` bigint unsigned not null,
  `alloc_secs` bigint unsigned default 0 not null,
  primary key (id, id_tres, time_start)
);

CREATE TABLE `@c@_assoc_usage_month_table` (
  `creation_time` bigint unsigned not null,
  `mod_time` bigint unsigned default 0 not null,
  `deleted` tinyint default 0 not null,
  `id` int unsigned not null,
  `id_tres` int default 1 not null,
  `time_start` bigint unsigned not null,
  `alloc_secs` bigint unsigned default 0 not null,
  primary key (id, id_tres, time_start)
);

CREATE TABLE `cluster_table` (
  `creation_time` bigint unsigned not null,
  `mod_time` bigint unsigned default 0 not null,
  `deleted` tinyint default 0,
  `name` tinytext not null,
  `control_host` tinytext not null default '',
  `control_port` int unsigned not null default 0,
  `last_port` int unsigned not null default 0,
  `rpc_version` smallint unsigned not null default 0,
  `classification` smallint unsigned default 0,
  `dimensions` smallint unsigned default 1,
  `plugin_id_select` smallint unsigned default 0,
  `flags` int unsigned default 0,
  `federation` tinytext not null,
  `features` text not null default '',
  `fed_id` int unsigned default 0 not null,
  `fed_state` smallint unsigned not null,
  primary key (name(42))
);

CREATE TABLE `@c@_event_table` (
  `time_start` bigint unsigned not null,
  `time_end` bigint unsigned default 0 not null,
  `node_name` tinytext default '' not null,
  `cluster_nodes` text not null default '',
  `reason` tinytext not null,
  `reason_uid` int unsigned default 0xfffffffe not null,
  `state` int unsigned default 0 not null,
  `tres` text not null default '',
  primary key (node_name(42), time_start),
  key rollup (node_name(42), time_start, time_end, state)
);

CREATE TABLE `@c@_job_table` (
  `job_db_inx` bigint unsigned not null auto_increment,
  `mod_time` bigint unsigned default 0 not null,
  `deleted` tinyint default 0 not null,
  `account` tinytext,
  `admin_comment` text,
  `array_task_str` text,
  `array_max_tasks` int unsigned default 0 not null,
  `array_task_pending` int unsigned default 0 not null,
  `constraints` text default '',
  `cpus_req` int unsigned not null,
  `derived_ec` int unsigned default 0 not null,
  `derived_es` text,
  `exit_code` int unsigned default 0 not null,
  `flags` int unsigned default 0 not null,
  `job_name` tinytext not null,
  `id_assoc` int unsigned not null,
  `id_array_job` int unsigned default 0 not null,
  `id_array_task` int unsigned default 0xfffffffe not null,
  `id_block` tinytext,
  `id_job` int unsigned not null,
  `id_qos` int unsigned default 0 not null,
  `id_resv` int unsigned not null,
  `id_wckey` int unsigned not null,
  `id_user` int unsigned not null,
  `id_group` int unsigned not null,
  `het_job_id` int unsigned not null,
  `het_job_offset` int unsigned not null,
  `kill_requid` int default -1 not null,
  `state_reason_prev` int unsigned not null,
  `mcs_label` tinytext default '',
  `mem_req` bigint unsigned default 0 not null,
  `nodelist` text,
  `nodes_alloc` int unsigned not null,
  `node_inx` text,
  `partition` tinytext not null,
  `priority` int unsigned not null,
  `state` int unsigned not null,
  `timelimit` int unsigned default 0 not null,
  `time_submit` bigint unsigned default 0 not null,
  `time_eligible` bigint unsigned default 0 not null,
  `time_start` bigint unsigned default 0 not null,
  `time_end` bigint unsigned default 0 not null,
  `time_suspended` bigint unsigned default 0 not null,
  `gres_used` text not null default '',
  `wckey` tinytext not null default '',
  `work_dir` text not null default '',
  `system_comment` text,
  `track_steps` tinyint not null,
  `tres_alloc` text not null default '',
  `tres_req` text not null default '',
  primary key (job_db_inx),
  unique index (id_job, time_submit),
  key old_tuple (id_job, id_assoc, time_submit),
  key rollup (time_eligible, time_end),
  key rollup2 (time_end, time_eligible),
  key nodes_alloc (nodes_alloc),
  key wckey (id_wckey),
  key qos (id_qos),
  key association (id_assoc),
  key array_job (id_array_job),
  key het_job (het_job_id),
  key reserv (id_resv),
  key sacct_def (id_user, time_start, time_end),
  key sacct_def2 (id_user, time_end, time_eligible)
);

CREATE TABLE `@c@_last_ran_table` (
  `hourly_rollup` bigint unsigned default 0 not null,
  `daily_rollup` bigint unsigned default 0 not null,
  `monthly_rollup` bigint unsigned default 0 not null,
  primary key (hourly_rollup, daily_rollup, monthly_rollup)
);

CREATE TABLE `qos_table` (
  `creation_time` bigint unsigned not null,
  `mod_time` bigint unsigned default 0 not null,
  `deleted` tinyint default 0,
  `id` int not null auto_increment,
  `name` tinytext not null,
  `description` text,
  `flags` int unsigned default 0,
  `grace_time` int unsigned default NULL,
  `max_jobs_pa` int default NULL,
  `max_jobs_per_user` int default NULL,
  `max_jobs_accrue_pa` int default NULL,
  `max_jobs_accrue_pu` int default NULL,
  `min_prio_thresh` int default NULL,
  `max_submit_jobs_pa` int default NULL,
  `max_submit_jobs_per_user` int default NULL,
  `max_tres_pa` text not null default '',
  `max_tres_pj` text not null default '',
  `max_tres_pn` text not null default '',
  `max_tres_pu` text not null default '',
  `max_tres_mins_pj` text not null default '',
  `max_tres_run_mins_pa` text not null default '',
  `max_tres_run_mins_pu` text not null default '',
  `min_tres_pj` text not null default '',
  `max_wall_duration_per_job` int default NULL,
  `grp_jobs` int default NULL,
  `grp_jobs_accrue` int default NULL,
  `grp_submit_jobs` int default NULL,
  `grp_tres` text not null default '',
  `grp_tres_mins` text not null default '',
  `grp_tres_run_mins` text not null default '',
  `grp_wall` int default NULL,
  `preempt` text not null default '',
  `preempt_mode` int default 0,
  `preempt_exempt_time` int unsigned default NULL,
  `priority` int unsigned default 0,
  `usage_factor` double default 1.0 not null,
  `usage_thres` double default NULL,
  primary key (id),
  unique index udex (name(42))
);

CREATE TABLE `@c@_resv_table` (
  `id_resv` int unsigned default 0 not null,
  `deleted` tinyint default 0 not null,
  `assoclist` text not null default '',
  `flags` bigint unsigned default 0 not null,
  `nodelist` text not null default '',
  `node_inx` text not null default '',
  `resv_name` text not null,
  `time_start` bigint unsigned default 0 not null,
  `time_end` bigint unsigned default 0 not null,
  `tres` text not null default '',
  `unused_wall` double unsigned default 0.0 not null,
  primary key (id_resv, time_start)
);

CREATE TABLE `@c@_step_table` (
  `job_db_inx` bigint unsigned not null,
  `deleted` tinyint default 0 not null,
  `exit_code` int default 0 not null,
  `id_step` int not null,
  `step_het_comp` int unsigned default 0xfffffffe not null,
  `kill_requid` int default -1 not null,
  `nodelist` text not null,
  `nodes_alloc` int unsigned not null,
  `node_inx` text,
  `state` smallint unsigned not null,
  `step_name` text not null,
  `task_cnt` int unsigned not null,
  `task_dist` smallint default 0 not null,
  `time_start` bigint unsigned default 0 not null,
  `time_end` bigint unsigned default 0 not null,
  `time_suspended` bigint unsigned default 0 not null,
  `user_sec` int unsigned default 0 not null,
  `user_usec` int unsigned default 0 not null,
  `sys_sec` int unsigned default 0 not null,
  `sys_usec` int unsigned default 0 not null,
  `act_cpufreq` double unsigned default 0.0 not null,
  `consumed_energy` bigint unsigned default 0 not null,
  `req_cpufreq_min` int unsigned default 0 not null,
  `req_cpufreq` int unsigned default 0 not null,
  `req_cpufreq_gov` int unsigned default 0 not null,
  `tres_alloc` text not null default '',
  `tres_usage_in_ave` text not null default '',
  `tres_usage_in_max` text not null default '',
  `tres_usage_in_max_taskid` text not null default '',
  `tres_usage_in_max_nodeid` text not null default '',
  `tres_usage_in_min` text not null default '',
  `tres_usage_in_min_taskid` text not null default '',
  `tres_usage_in_min_nodeid` text not null default '',
  `tres_usage_in_tot` text not null default '',
  `tres_usage_out_ave` text not null default '',
  `tres_usage_out_max` text not null default '',
  `tres_usage_out_max_taskid` text not null default '',
  `tres_usage_out_max_nodeid` text not null default '',
  `tres_usage_out_min` text not null default '',
  `tres_usage_out_min_taskid` text not null default '',
  `tres_usage_out_min_nodeid` text not null default '',
  `tres_usage_out_tot` text not null default '',
  primary key (job_db_inx, id_step, step_het_comp),
  key no_step_comp (job_db_inx, id_step),
  key time_start_end (time_start, time_end)
);

CREATE TABLE `@c@_suspend_table` (
  `job_db_inx` bigint unsigned not null,
  `id_assoc` int not null,
  `time_start` bigint unsigned default 0 not null,
  `time_end` bigint unsigned default 0 not null,
  primary key (job_db_inx, time_start),
  key job_db_inx_times (job_db_inx, time_start, time_end)
);

CREATE TABLE `tres_table` (
  `creation_time` bigint unsigned not null,
  `deleted` tinyint default 0 not null,
  `id` int not null auto_increment,
  `type` tinytext not null,
  `name` tinytext not null default '',
  primary key (id),
  unique index udex (type(42), name(42))
);

CREATE TABLE `@c@_usage_day_table` (
  `creation_time` bigint unsigned not null,
  `mod_time` bigint unsigned default 0 not null,
  `deleted` tinyint default 0 not null,
  `id_tres` int not null,
  `time_start` bigint unsigned not null,
  `count` bigint unsigned default 0 not null,
  `alloc_secs` bigint unsigned default 0 not null,
  `down_secs` bigint unsigned default 0 not null,
  `pdown_secs` bigint unsigned default 0 not null,
  `idle_secs` bigint unsigned default 0 not null,
  `resv_secs` bigint unsigned default 0 not null,
  `over_secs` bigint unsigned default 0 not null,
  primary key (id_tres, time_start)
);

CREATE TABLE `@c@_usage_hour_table` (
  `creation_time` bigint unsigned not null,
  `mod_time` bigint unsigned default 0 not null,
  `deleted` tinyint default 0 not null,
  `id_tres` int not null,
  `time_start` bigint unsigned not null,
  `count` bigint unsigned default 0 not null,
  `alloc_secs` bigint unsigned default 0 not null,
  `down_secs` bigint unsigned default 0 not null,
  `pdown_secs` bigint unsigned default 0 not null,
  `idle_secs` bigint unsigned default 0 not null,
  `resv_secs` bigint unsigned default 0 not null,
  `over_secs` bigint unsigned default 0 not null,
  primary key (id_tres, time_start)
);

CREATE TABLE `@c@_usage_month_table` (
  `creation_time` bigint unsigned not null,
  `mod_time` bigint unsigned default 0 not null,
  `deleted` tinyint default 0 not null,
  `id_tres` int not null,
  `time_start` bigint unsigned not null,
  `count` bigint unsigned default 0 not null,
  `alloc_secs` bigint unsigned default 0 not null,
  `down_secs` bigint unsigned default 0 not null,
  `pdown_secs` bigint unsigned default 0 not null,
  `idle_secs` bigint unsigned default 0 not null,
  `resv_secs` bigint unsigned default 0 not null,
  `over_secs` bigint unsigned default 0 not null,
  primary key (id_tres, time_start)
);

CREATE TABLE `user_table` (
  `creation_time` bigint unsigned not null,
  `mod_time` bigint unsigned default 0 not null,
  `deleted` tinyint default 0,
  `name` tinytext not null,
  `admin_level` smallint default 1 not null,
  primary key (name(42))
);

CREATE TABLE `@c@_wckey_table` (
  `creation_time` bigint unsigned not null,
  `mod_time` bigint unsigned default 0 not null,
  `deleted` tinyint default 0 not null,
  `is_def` tinyint default 0 not null,
  `id_wckey` int unsigned not null auto_increment,
  `wckey_name` tinytext not null default '',
  `user` tinytext not null,
  primary key (id_wckey),
  unique index udex (wckey_name(42), user(42))
);
