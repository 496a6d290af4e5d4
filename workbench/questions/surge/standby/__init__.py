"""How soon a replica answers that is started, idle or asleep, and which memory it holds while it waits."""
