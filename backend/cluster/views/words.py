"""Slurm's reasons that need no figures, in plain words. Every other one is a limit: see `reasons`."""

from __future__ import annotations

# of a job that waits
WAITING = {
    "": "Just submitted: the scheduler has not looked at it yet.",
    "None": "Just submitted: the scheduler has not looked at it yet.",
    "Priority": "Other jobs go first: they have a higher priority here.",
    "Resources": "Next in line: it waits for enough free resources.",
    "Dependency": "It waits for another job to finish first.",
    "DependencyNeverSatisfied": "It waits for a job that did not end as asked, so it will never start.",
    "BeginTime": "Its start time has not come yet: it was asked to begin later.",
    "JobHeldUser": "Held by its owner: release it to let it start.",
    "JobHeldAdmin": "Held by an administrator: ask them why.",
    "JobHoldMaxRequeue": "Held, because it was started and put back too many times.",
    "JobArrayTaskLimit": "The array runs as many tasks at once as it was asked to; the rest wait.",
    "Licenses": "It waits for a software licence that is in use.",
    "Reservation": "It waits for its reservation to begin, or for room in it.",
    "ReservationDeleted": "Its reservation was deleted: it will not start as it is.",
    "ReqNodeNotAvail": "Nodes that it needs are not available now: down, drained or reserved.",
    "NodeDown": "A node that it needs is down.",
    "FrontEndDown": "The cluster's front end is down.",
    "PartitionDown": "Its partition starts no jobs now: an administrator stopped it.",
    "PartitionInactive": "Its partition is switched off.",
    "PartitionNodeLimit": "It asks for a number of nodes that its partition does not allow.",
    "PartitionTimeLimit": "It asks for more time than its partition allows.",
    "PartitionConfig": "It asks for something that its partition does not allow.",
    "AccountNotAllowed": "Its account may not use this partition.",
    "QOSNotAllowed": "Its QOS may not be used here.",
    "InvalidAccount": "Its account is not valid any more: an administrator can repair this.",
    "InvalidQOS": "Its QOS is not valid any more: an administrator can repair this.",
    "AssociationJobLimit": "The account's limit on jobs is reached.",
    "AssociationResourceLimit": "The account's limit on resources is reached.",
    "AssociationTimeLimit": "The account's limit on time is reached.",
    "QOSJobLimit": "The QOS's limit on jobs is reached.",
    "QOSResourceLimit": "The QOS's limit on resources is reached.",
    "QOSTimeLimit": "The QOS's limit on time is reached.",
    "QOSUsageThreshold": "The account's past use is above what its QOS allows.",
    "BadConstraints": "What it asks for can't be met by any node here: it will not start as it is.",
    "BurstBufferResources": "It waits for space in the burst buffer.",
    "BurstBufferStageIn": "Its data is being copied into the burst buffer.",
    "BurstBufferOperation": "An operation on the burst buffer failed.",
    "Cleaning": "It was put back in the queue and is being cleaned up.",
    "Prolog": "Its node is being prepared.",
    "SchedDefer": "The scheduler looks at it in its next full round.",
    "NvidiaImexChannels": "It waits for a free NVIDIA IMEX channel.",
    "DeadLine": "It can't end before its deadline any more.",
    "JobLaunchFailure": "It could not be started on its node and was put back.",
    "SystemFailure": "The cluster had a failure: an administrator must look.",
    "FedJobLock": "The clusters of the federation agree who starts it.",
    "MaxRequeue": "It was put back too many times.",
    "ReqMemNotAvail": "No node has the memory that it asks for free.",
    "MaxMemPerLimit": "It asks for more memory than is allowed: it will not start as it is.",
    "MaxPoweredUpNodes": "As many nodes as allowed are switched on; it waits for one.",
    "ReservationNotRunning": "Its reservation has not begun.",
    "AssocGrpBilling": "The account's limit on billing is reached.",
}

# texts that Slurm writes in place of a reason
TEXTS = {
    "job requeued in held state": "It was put back in the queue and is held: release it to let it start.",
    "launch failed requeued held": "It could not be started and is held: release it to try again.",
}

# of a job that ended
ENDED = {
    "NonZeroExitCode": "It ended with an error",
    "RaisedSignal": "It was ended by a signal",
    "TimeLimit": "It reached its time limit.",
    "InactiveLimit": "It was idle for too long.",
    "NodeDown": "Its node failed.",
    "NodeFail": "Its node failed.",
    "JobLaunchFailure": "It could not be started on its node.",
    "SystemFailure": "The cluster had a failure.",
    "OutOfMemory": "It used more memory than it had asked for.",
    "DeadLine": "Its deadline passed.",
    "PartitionDown": "Its partition was stopped.",
}

# by state, where the reason says nothing
STATE = {
    "COMPLETED": "It ended well.",
    "CANCELLED": "It was cancelled.",
    "FAILED": "It ended with an error",
    "TIMEOUT": "It reached its time limit.",
    "NODE_FAIL": "Its node failed.",
    "PREEMPTED": "It gave way to a job with a higher priority.",
    "BOOT_FAIL": "Its node did not come up.",
    "DEADLINE": "Its deadline passed.",
    "OUT_OF_MEMORY": "It used more memory than it had asked for.",
}
