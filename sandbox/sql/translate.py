"""Reads SQL of one dialect as strictly as sqlglot does, and writes it for DuckDB.

One JSON request a line on stdin, one JSON answer a line on stdout. A request is {"sql", "read"}; an answer
{"statements": [{"kind", "sql", "tables", "check"?}]} or {"error"}. `check` gives a row when a MERGE would meet a row
of its target twice.
"""

import json
import re
import sys

try:
    import sqlglot
    from sqlglot import errors, exp
    from sqlglot.optimizer.normalize_identifiers import normalize_identifiers
except ImportError as error:
    print(json.dumps({"fatal": f"sqlglot cannot be imported: {error}"}), flush=True)
    sys.exit(1)

KINDS = {
    exp.Select: "select",
    exp.SetOperation: "select",
    exp.Merge: "merge",
    exp.Insert: "insert",
    exp.Update: "update",
    exp.Delete: "delete",
    exp.Create: "create",
    exp.Alter: "alter",
    exp.Drop: "drop",
    exp.TruncateTable: "truncate",
}


CONVERSIONS = {"TO_TIMESTAMP_NTZ": "TIMESTAMP", "TO_DATE": "DATE"}


def kind_of(statement):
    return next((kind for type_, kind in KINDS.items() if isinstance(statement, type_)), "other")


def name_of(node):
    return (node.name if isinstance(node, exp.Expression) else str(node)).upper()


def unnested(call, alias):
    """What FLATTEN gives of an array: a row for each member, in the column VALUE."""
    given = next((arg for arg in call.args.get("expressions") or [call.this] if isinstance(arg, exp.Kwarg) and name_of(arg.this) == "INPUT"), None)
    if given is None:
        raise errors.ParseError("the stand-in knows FLATTEN only as FLATTEN(INPUT => …)")
    array = exp.cast(given.expression, exp.DataType.build("JSON[]", dialect="duckdb"))
    column = exp.alias_(exp.func("UNNEST", array), "VALUE", quoted=False)
    return exp.Subquery(this=exp.select(column), alias=exp.TableAlias(this=exp.to_identifier(alias or "flattened")))


def is_flatten(node):
    return isinstance(node, (exp.Explode, exp.Unnest)) or (isinstance(node, exp.Anonymous) and name_of(node) == "FLATTEN")


def for_duckdb(statement):
    """Rewrites what DuckDB has in another form, and sqlglot leaves as it is."""
    flattened = False
    for table in list(statement.find_all(exp.TableFromRows, exp.Table)):
        inner = table.this
        if isinstance(inner, exp.Anonymous) and name_of(inner) == "TABLE":
            inner = inner.expressions[0]
        call = inner if is_flatten(inner) else None
        if call is not None:
            flattened = True
            table.replace(unnested(call, table.alias))
    for cast in list(statement.find_all(exp.Cast, exp.TryCast)):
        # A JSON text is cast to what it says, without its quotation marks.
        if isinstance(cast.this, exp.JSONExtract):
            cast.this.replace(exp.JSONExtractScalar(**cast.this.args))
        elif isinstance(cast.this, exp.Column) and name_of(cast.this) == "VALUE" and flattened:
            cast.this.replace(exp.JSONExtractScalar(this=cast.this.copy(), expression=exp.Literal.string("$")))
    for call in list(statement.find_all(exp.Anonymous)):
        if name_of(call) in CONVERSIONS and len(call.expressions) == 1:
            call.replace(exp.cast(call.expressions[0], CONVERSIONS[name_of(call)]))
    tables = []
    names = {cte.alias.upper() for cte in statement.find_all(exp.CTE)}
    for table in statement.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier) or (table.name.upper() in names and not table.args.get("db")):
            continue
        tables.append({"name": table.name, "database": table.catalog, "schema": table.db})
        table.set("db", None)
        table.set("catalog", None)
    return tables


def duplicates(merge):
    """Rows of the target that more than one row of the source meets."""
    target = merge.this.copy()
    alias = target.alias_or_name
    joined = exp.select("1").from_(target).join(merge.args["using"].copy(), on=merge.args["on"].copy())
    return joined.group_by(f'"{alias}".rowid').having("COUNT(*) > 1").limit(1)


def translate(sql, read):
    translated = []
    for statement in sqlglot.parse(sql, read=read, error_level=errors.ErrorLevel.RAISE):
        if statement is None:
            continue
        kind = kind_of(statement)
        if read == "snowflake":
            statement = normalize_identifiers(statement, dialect=read)
        tables = for_duckdb(statement) if kind != "other" else []
        answer = {"kind": kind, "tables": tables, "sql": statement.sql(dialect="duckdb")}
        if kind == "merge":
            answer["check"] = duplicates(statement).sql(dialect="duckdb")
        translated.append(answer)
    return translated


print(json.dumps({"ready": True, "version": sqlglot.__version__}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"statements": translate(request["sql"], request["read"])}
    except errors.SqlglotError as error:
        answer = {"error": re.sub(r"\x1b\[\d*m", "", str(error))}
    except Exception as error:  # a statement must not end the process that others wait for
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
