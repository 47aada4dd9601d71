#!/bin/sh
# Run once by the image of Postgres, when it makes its data: a role for Dapple that owns its database and nothing else.
set -eu
psql --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv password DAPPLE_DATABASE_PASSWORD
CREATE ROLE dapple LOGIN PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE;
CREATE DATABASE dapple OWNER dapple;
REVOKE CONNECT ON DATABASE dapple FROM PUBLIC;
SQL
