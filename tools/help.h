/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `--help` says.
 */
#ifndef TOOLS_HELP_H
#define TOOLS_HELP_H

extern const char help_all[];
extern const char help_create[];
extern const char help_issue[];
extern const char help_lookup[];
extern const char help_status[];
extern const char help_tickets[];
extern const char help_verify[];
extern const char help_dump[];
extern const char help_checkpoint[];
extern const char help_backup[];
extern const char help_sale[];

#endif
